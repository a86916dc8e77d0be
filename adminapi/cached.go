package adminapi

import (
	"context"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// cached answers many callers with one call: one at a time is made, and how it ended, also with an error, serves for
// its lifetime. Set life and fetch before its first use.
type cached[T any] struct {
	life  time.Duration
	fetch func(context.Context) (T, error)

	once sync.Once
	turn chan struct{} // holds a token while somebody reads or replaces what follows

	value T
	err   error
	until time.Time
}

// get returns what is kept, or fetches it. The call is not its caller's alone and so ends with its own deadline; who
// waits for it may leave before.
func (k *cached[T]) get(ctx context.Context) (value T, err error) {
	k.once.Do(func() { k.turn = make(chan struct{}, 1) })
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return value, core.WrapError(core.DeadlineExceeded, "the caller did not wait", ctx.Err())
	}
	if now := time.Now(); !now.Before(k.until) {
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), holderTimeout)
		defer cancel()
		k.value, k.err = k.fetch(call)
		k.until = time.Now().Add(k.life)
	}
	return k.value, k.err
}
