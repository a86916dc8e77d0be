package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi/outage"
	"github.com/talos-edge/talos-edge/caddymodule/internal/logging"
	"github.com/talos-edge/talos-edge/caddymodule/internal/pool"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/storage/redis"
)

// Where uses are counted, if not in the Redis of a URL.
const (
	rateLimitMemory = "memory" // in this process
	rateLimitOff    = "off"    // nowhere
)

// rateLimitMode reads the option rate_limit, of which nothing is the default. Errors do not repeat a URL, which may
// hold a password.
func rateLimitMode(text string) (string, error) {
	switch {
	case text == "":
		return rateLimitMemory, nil
	case text == rateLimitMemory, text == rateLimitOff:
		return text, nil
	case strings.Contains(text, "://"):
		return text, redis.Check(text)
	default:
		return "", errors.New("it must be `memory`, `off` or the URL of a Redis, such as redis://localhost:6379")
	}
}

// pooledLimiter is a limiter that several nodes share. In a reload the next node opens before the last one closes, so
// the limiter stays, and the counts of its keys with it.
type pooledLimiter struct {
	ratelimit.Limiter
	watch *outage.Watch // nil: nothing can fail
}

// acquireLimiter takes a use of a limiter. The caller gives it back by releaseLimiter. nil: nothing is counted.
func acquireLimiter(ctx context.Context, mode string) (ratelimit.Limiter, error) {
	if mode == rateLimitOff {
		return nil, nil //nolint:nilnil // that no limit is enforced is no error
	}
	//nolint:contextcheck // the limiter outlives ctx
	limiter, err := pool.Acquire(ctx, pool.Limiters, limiterKey(mode), func() (*pooledLimiter, error) {
		if mode != rateLimitMemory {
			return openRedis(mode, logging.Current("talos"))
		}
		memory, err := ratelimit.NewMemory(0)
		if err != nil {
			return nil, err
		}
		return &pooledLimiter{Limiter: memory}, nil
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
	_, err := pool.Limiters.Delete(limiterKey(mode))
	return err
}

// limiterKey names a limiter in its pool. It does not reveal the password of a URL.
func limiterKey(mode string) string {
	if mode == rateLimitMemory {
		return mode
	}
	sum := sha256.Sum256([]byte(poolSalt + mode))
	return hex.EncodeToString(sum[:])
}

// openRedis opens a limiter that counts in Redis. It does not wait for Redis.
func openRedis(url string, logger *zap.Logger) (*pooledLimiter, error) {
	watch := outage.New(outage.Config{
		Logger: logger,
		Level:  zap.WarnLevel,
		Begins: "the uses of keys cannot be counted in Redis: each node counts for itself, so a key has its limit " +
			"on each",
		Ends: "the uses of keys are counted in Redis again",
	})
	limiter, err := redis.Open(url, redis.Observer{
		Local: func(allowed bool) {
			if allowed {
				limiterFailures.Inc()
			}
		},
		Away:     watch.Failed,
		Answered: watch.Worked,
	})
	if err != nil {
		watch.Close()
		return nil, err
	}
	return &pooledLimiter{limiter, watch}, nil
}

// Destruct closes the limiter after its last use.
func (l *pooledLimiter) Destruct() error {
	err := l.Close()
	if l.watch != nil {
		l.watch.Close()
	}
	return err
}
