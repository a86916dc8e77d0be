package pool

import (
	"context"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// The pools of the process.
var (
	Nodes    = caddy.NewUsagePool() // by a salted hash of their settings
	Stores   = caddy.NewUsagePool() // by canonical DSN
	Limiters = caddy.NewUsagePool() // by what they count, and where
)

// OpenTimeout bounds the opening of a node: of its secrets, and of its storage, with migrations. A reload waits as long
// while the configuration before it serves. It is a variable for tests.
var OpenTimeout = 10 * time.Second

// Acquire takes a use of a pooled value, which it constructs within ctx if need be. Whoever joins a construction that
// another caller began does not fail with that caller's context: the value is constructed again. The caller gives the
// use back by Delete.
func Acquire[T caddy.Destructor](
	ctx context.Context, pool *caddy.UsagePool, key string, construct func() (T, error),
) (value T, err error) {
	for {
		pooled, joined, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) { return construct() })
		ended := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
		if joined && ended && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return value, err
		}
		return pooled.(T), nil //nolint:errcheck,forcetypeassert // a key names values of one type
	}
}
