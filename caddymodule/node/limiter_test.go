package node

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/caddymodule/internal/logging"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

// awayLimiter is a limiter whose counters cannot be reached.
type awayLimiter struct{}

func (awayLimiter) Take(context.Context, core.NetworkID, string, core.RateLimitPolicy) (ratelimit.Result, error) {
	return ratelimit.Result{}, errors.New("the counters are away")
}

func (awayLimiter) Close() error { return nil }

func TestUsesThatCannotBeCountedAreLoggedNowAndThen(t *testing.T) {
	t.Parallel()
	logged, logs := observer.New(zapcore.DebugLevel)
	l := &pooledLimiter{awayLimiter{}, logging.Seldom(zap.New(logged))}
	before := failures(t)
	for range 5 {
		if _, err := l.Take(t.Context(), core.NetworkID{}, "k", core.RateLimitPolicy{}); err == nil {
			t.Error("no error, by which the use is let through")
		}
	}
	if n := failures(t) - before; n != 5 {
		t.Errorf("%v of 5 failures were counted", n)
	}
	if n := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 1 {
		t.Errorf("%d errors were logged, want one in ten seconds", n)
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
