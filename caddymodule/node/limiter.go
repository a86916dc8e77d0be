package node

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/caddymodule/internal/logging"
	"github.com/talos-edge/talos-edge/caddymodule/internal/pool"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

// Where uses are counted.
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

// pooledLimiter is a limiter that several nodes share. In a reload the next node opens before the last one closes, so
// the limiter stays, and the counts of its keys with it.
type pooledLimiter struct {
	ratelimit.Limiter
	rareLogger *zap.Logger
}

// acquireLimiter takes a use of a limiter. The caller gives it back by releaseLimiter. nil: nothing is counted.
func acquireLimiter(ctx context.Context, mode string) (ratelimit.Limiter, error) {
	if mode == rateLimitOff {
		return nil, nil //nolint:nilnil // that no limit is enforced is no error
	}
	limiter, err := pool.Acquire(ctx, pool.Limiters, mode, func() (*pooledLimiter, error) {
		memory, err := ratelimit.NewMemory(0)
		if err != nil {
			return nil, err
		}
		return &pooledLimiter{memory, logging.Seldom(logging.Current("talos"))}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("rate_limit: %w", err)
	}
	return limiter, nil
}

func releaseLimiter(mode string) error {
	if mode == rateLimitOff {
		return nil
	}
	_, err := pool.Limiters.Delete(mode)
	return err
}

// Take counts one use of a key. An error means that it could not be counted; the caller lets the use through.
func (l *pooledLimiter) Take(
	ctx context.Context, network core.NetworkID, keyID string, p core.RateLimitPolicy,
) (ratelimit.Result, error) {
	r, err := l.Limiter.Take(ctx, network, keyID, p)
	if err != nil {
		limiterFailures.Inc()
		l.rareLogger.Error("a use of a key could not be counted, and was let through", zap.Error(err))
	}
	return r, err
}

// Destruct closes the limiter after its last use.
func (l *pooledLimiter) Destruct() error { return l.Close() }
