package sidecar

import (
	"context"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// cached answers many callers with one call: one at a time is made, and how it ended, also with an error, serves for
// its lifetime. Set ttl and fetch before its first use.
type cached[T any] struct {
	ttl   time.Duration
	fetch func(context.Context) (T, error)

	once sync.Once
	turn chan struct{} // holds a token while somebody reads or replaces what follows

	value T
	err   error
	until time.Time
}

// get returns the cached value, or fetches it. The call is not its caller's alone and so ends with its own deadline;
// who waits for it may leave before.
func (c *cached[T]) get(ctx context.Context) (value T, err error) {
	c.once.Do(func() { c.turn = make(chan struct{}, 1) })
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return value, core.WrapError(core.DeadlineExceeded, "the caller did not wait", ctx.Err())
	}
	if now := time.Now(); !now.Before(c.until) {
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), holderTimeout)
		defer cancel()
		c.value, c.err = c.fetch(call)
		c.until = time.Now().Add(c.ttl)
	}
	return c.value, c.err
}
