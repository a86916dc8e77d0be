package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

// The ways of counting uses.
const (
	rateLimitMemory = "memory" // in this process
	rateLimitOff    = "off"    // nowhere
)

// rateLimitMode reads the option rate_limit, of which nothing is the default.
func rateLimitMode(text string) (string, error) {
	switch {
	case text == "":
		return rateLimitMemory, nil
	case text == rateLimitMemory, text == rateLimitOff:
		return text, nil
	case strings.HasPrefix(text, "redis://"), strings.HasPrefix(text, "rediss://"):
		return "", errors.New("counting in Redis is not built in; use `memory`, which counts in this process, or `off`")
	default:
		return "", fmt.Errorf("%q is neither `memory` nor `off`", text)
	}
}

// limiters are the limiters of the process, by the way in which they count. One outlives the nodes that use it as long
// as the next node comes before the last one has gone, as in a reload: whatever else changes, no key begins anew.
var limiters = caddy.NewUsagePool() // settings.rateLimit → *pooledLimiter

// pooledLimiter is a limiter that several nodes share.
type pooledLimiter struct{ ratelimit.Limiter }

// acquireLimiter takes a use of a limiter. The caller gives it back by releaseLimiter. nil: nothing is counted.
func acquireLimiter(mode string) (ratelimit.Limiter, error) {
	if mode == rateLimitOff {
		return nil, nil //nolint:nilnil // that no limit is enforced is no error
	}
	value, _, err := limiters.LoadOrNew(mode, func() (caddy.Destructor, error) {
		memory, err := ratelimit.NewMemory(0)
		if err != nil {
			return nil, err
		}
		return pooledLimiter{memory}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("rate_limit: %w", err)
	}
	return value.(pooledLimiter).Limiter, nil //nolint:errcheck,forcetypeassert // the pool holds nothing else
}

func releaseLimiter(mode string) error {
	if mode == rateLimitOff {
		return nil
	}
	_, err := limiters.Delete(mode)
	return err
}

// Destruct closes the limiter after its last use.
func (l pooledLimiter) Destruct() error { return l.Close() }

// limiterFailures counts the uses that were let through because they could not be counted.
var limiterFailures atomic.Uint64

// counter is the limiter of an app's node, for gates and surfaces.
type counter struct{ app *App }

// limiter returns what counts the uses of keys; nil when the configuration wants nothing counted.
func (a *App) limiter() ratelimit.Limiter {
	if a.settings.rateLimit == rateLimitOff {
		return nil
	}
	return counter{a}
}

// Take counts one use of a key. An error means that nothing can be said, and that the use is let through.
func (c counter) Take(
	ctx context.Context, network core.NetworkID, keyID string, p core.RateLimitPolicy,
) (r ratelimit.Result, err error) {
	take := func(n *node) (ratelimit.Result, error) { return n.limiter.Take(ctx, network, keyID, p) }
	if n := c.app.node.Load(); n != nil {
		r, err = take(n)
	} else {
		r, err = with(c.app, take)
	}
	if err != nil {
		limiterFailures.Add(1)
		c.app.rareLogger.Error("a use of a key could not be counted, and was let through", zap.Error(err))
	}
	return r, err
}

// Close does nothing: the limiter is the node's.
func (counter) Close() error { return nil }

// seldom makes of a logger one that says the same at most once in ten seconds.
func seldom(logger *zap.Logger) *zap.Logger {
	return logger.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, 10*time.Second, 1, 0)
	}))
}
