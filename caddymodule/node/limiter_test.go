package node

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/caddymodule/internal/pool"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/redis/redistest"
)

// nobody is the URL of a Redis that is not there.
const nobody = "redis://:a-password@127.0.0.1:1?timeout=10s"

func TestUsesThatRedisCannotCountAreLetThroughAndLoggedOnce(t *testing.T) {
	t.Parallel()
	logged, logs := observer.New(zapcore.DebugLevel)
	l, err := openRedis(nobody, zap.New(logged))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Destruct(); err != nil {
			t.Error(err)
		}
	}()
	before := failures(t)
	for i, want := range []bool{true, true, true, false, false} {
		r, err := l.Take(t.Context(), core.NetworkID{}, "k", core.RateLimitPolicy{Quota: 3, Window: time.Hour})
		if err != nil || r.Allowed != want {
			t.Errorf("use %d: %+v, %v", i+1, r, err)
		}
	}
	if n := failures(t) - before; n != 3 {
		t.Errorf("%v uses were counted as let through, want the 3 of 5 that were", n)
	}
	redistest.Await(t, "the outage is logged", func() bool { return logs.Len() > 0 })
	entry := logs.All()[0]
	if entry.Level != zapcore.WarnLevel || !strings.Contains(entry.Message, "counts for itself") || logs.Len() != 1 {
		t.Errorf("%d lines, the first one %s: %s", logs.Len(), entry.Level, entry.Message)
	}
	for _, f := range entry.Context {
		if err, ok := f.Interface.(error); ok && strings.Contains(err.Error(), "a-password") {
			t.Errorf("the log has the password: %v", err)
		}
	}
}

func TestLimitersArePooledByTheirURLWithoutRevealingIt(t *testing.T) {
	t.Parallel()
	url, other := nobody, strings.Replace(nobody, ":1?", ":2?", 1)
	acquire := func(mode string) any {
		l, err := acquireLimiter(t.Context(), mode)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := releaseLimiter(mode); err != nil {
				t.Error(err)
			}
		})
		return l
	}
	first := acquire(url)
	if acquire(url) != first {
		t.Error("equal URLs have two limiters")
	}
	if acquire(other) == first {
		t.Error("two URLs share a limiter")
	}
	pool.Limiters.Range(func(key, _ any) bool {
		if name, ok := key.(string); !ok || strings.Contains(name, "a-password") {
			t.Errorf("the pool's key is %v", key)
		}
		return true
	})
}

func TestALimiterOfFilesThatAreMissingDoesNotOpen(t *testing.T) {
	t.Parallel()
	_, err := acquireLimiter(t.Context(), "rediss://:a-password@localhost?tls_ca=/nowhere.pem")
	if err == nil || strings.Contains(err.Error(), "a-password") ||
		!strings.Contains(err.Error(), "rate_limit: tls_ca") {
		t.Errorf("got %v", err)
	}
}

// failures is what the metric says.
func failures(t *testing.T) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(limiterFailures)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}
