package redis_test

import (
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/storage/redis"
	"github.com/talos-edge/talos-edge/storage/redis/redistest"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(hammerEnv); url != "" {
		os.Exit(hammer(url))
	}
	goleak.VerifyTestMain(m)
}

// network is the network of the keys in tests.
var network = core.NetworkID{15: 1}

// seldom is a policy under which it takes an hour until one of a thousand uses comes back.
func seldom(quota int64) core.RateLimitPolicy {
	return core.RateLimitPolicy{Quota: quota, Window: 1000 * time.Hour}
}

// limiter is a limiter with what its observer was told.
type limiter struct {
	*redis.Limiter
	local    atomic.Int64
	answered atomic.Int64
	away     chan string // what Away was told last
	close    func() error
}

// open opens a limiter until the test ends.
func open(t testing.TB, url string) *limiter {
	t.Helper()
	l := &limiter{away: make(chan string, 1)}
	var err error
	l.Limiter, err = redis.Open(url, redis.Observer{
		Local:    func(bool) { l.local.Add(1) },
		Answered: func() { l.answered.Add(1) },
		Away: func(err error) {
			select {
			case <-l.away:
			default:
			}
			l.away <- err.Error()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.close = sync.OnceValue(l.Close)
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// take counts a use of a key.
func (l *limiter) take(t testing.TB, key string, p core.RateLimitPolicy) ratelimit.Result {
	t.Helper()
	r, err := l.Take(t.Context(), network, key, p)
	if err != nil {
		t.Error(err)
	}
	return r
}

// cause is what Away was told last, for the message of a test that fails.
func (l *limiter) cause() string {
	select {
	case cause := <-l.away:
		return cause
	default:
		return "Away was not called"
	}
}

// awaitShared waits until uses are counted in Redis.
func (l *limiter) awaitShared(t testing.TB, what string) {
	t.Helper()
	redistest.Await(t, what, func() bool {
		before := l.local.Load()
		l.take(t, "awaited", seldom(10_000))
		return l.local.Load() == before
	})
}

// patient is the URL of a server, with a timeout that an overloaded machine does not reach.
func patient(s *redistest.Server) string { return "redis://" + s.Addr() + "?timeout=10s" }
