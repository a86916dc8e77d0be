package ratelimit_test

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

var network core.NetworkID

func newMemory(t testing.TB, maxKeys int) *ratelimit.Memory {
	t.Helper()
	m, err := ratelimit.NewMemory(maxKeys)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func take(t testing.TB, l ratelimit.Limiter, keyID string, p core.RateLimitPolicy) ratelimit.Result {
	t.Helper()
	r, err := l.Take(t.Context(), network, keyID, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTake_FollowsThePolicy(t *testing.T) {
	t.Parallel()
	const s = time.Second
	three := core.RateLimitPolicy{Quota: 3, Window: 30 * s}
	one := core.RateLimitPolicy{Quota: 1, Window: 10 * s}
	type use struct {
		wait   time.Duration
		policy core.RateLimitPolicy
		want   ratelimit.Result
	}
	ok := func(remaining int64, reset time.Duration) ratelimit.Result {
		return ratelimit.Result{Allowed: true, Remaining: remaining, ResetAfter: reset}
	}
	no := func(reset, retry time.Duration) ratelimit.Result {
		return ratelimit.Result{ResetAfter: reset, RetryAfter: retry}
	}
	for name, uses := range map[string][]use{
		"the whole quota at once, then none": {
			{0, three, ok(2, 10*s)}, {0, three, ok(1, 20*s)}, {0, three, ok(0, 30*s)},
			{0, three, no(30*s, 10*s)}, {0, three, no(30*s, 10*s)},
		},
		"one comes back at a time": {
			{0, three, ok(2, 10*s)}, {0, three, ok(1, 20*s)}, {0, three, ok(0, 30*s)},
			{9 * s, three, no(21*s, s)}, {s, three, ok(0, 30*s)}, {0, three, no(30*s, 10*s)},
			{20 * s, three, ok(1, 20*s)},
		},
		"a refused use costs nothing": {
			{0, one, ok(0, 10*s)}, {9 * s, one, no(s, s)}, {s / 2, one, no(s/2, s/2)}, {s / 2, one, ok(0, 10*s)},
		},
		"a long rest gives no more than the quota": {
			{0, three, ok(2, 10*s)}, {time.Hour, three, ok(2, 10*s)}, {0, three, ok(1, 20*s)},
			{0, three, ok(0, 30*s)}, {0, three, no(30*s, 10*s)},
		},
		"a steady rate passes for ever": {
			{0, three, ok(2, 10*s)}, {10 * s, three, ok(2, 10*s)},
			{10 * s, three, ok(2, 10*s)}, {10 * s, three, ok(2, 10*s)},
		},
		"a wider policy counts at once": {
			{0, core.RateLimitPolicy{Quota: 1, Window: 24 * time.Hour}, ok(0, 24*time.Hour)},
			{0, three, no(30*s, 10*s)}, {10 * s, three, ok(0, 30*s)},
		},
		"a narrower one, too": {
			{0, three, ok(2, 10*s)}, {0, one, no(10*s, 10*s)},
		},
		"no quota, no limit": {
			{0, core.RateLimitPolicy{}, ratelimit.Result{Allowed: true}}, {0, three, ok(2, 10*s)},
		},
		"a quota that does not divide the window": {
			{0, core.RateLimitPolicy{Quota: 2, Window: 3}, ok(1, 1)},
			{0, core.RateLimitPolicy{Quota: 2, Window: 3}, ok(0, 2)},
			{0, core.RateLimitPolicy{Quota: 2, Window: 3}, no(2, 1)},
		},
		"more than one a nanosecond": {
			{0, core.RateLimitPolicy{Quota: 1 << 40, Window: s}, ok(1<<40-1, 1)},
			{time.Hour, core.RateLimitPolicy{Quota: math.MaxInt64, Window: s}, ok(1<<62-1, 1)},
			{0, core.RateLimitPolicy{Quota: math.MaxInt64, Window: s}, ok(1<<62-2, 2)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t, 0)
				for i, u := range uses {
					time.Sleep(u.wait)
					if got := take(t, m, "key", u.policy); got != u.want {
						t.Errorf("use %d: %+v, want %+v", i+1, got, u.want)
					}
				}
			})
		})
	}
}

func TestTake_CountsKeysAndNetworksApart(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 0)
	p := core.RateLimitPolicy{Quota: 1, Window: time.Hour}
	for _, n := range []core.NetworkID{{}, uuid.New(), uuid.New()} {
		for _, key := range []string{"a", "b", ""} {
			for i, want := range []bool{true, false} {
				if r, err := m.Take(t.Context(), n, key, p); err != nil || r.Allowed != want {
					t.Errorf("network %s, key %q, use %d: %+v, %v", n, key, i+1, r, err)
				}
			}
		}
	}
}

func TestTake_TogetherAllowsTheQuotaAndNoMore(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 0)
	const quota = 500
	p := core.RateLimitPolicy{Quota: quota, Window: 1000 * time.Hour}
	var allowed atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 100 {
				r, err := m.Take(t.Context(), network, "key", p)
				if err != nil {
					t.Error(err)
				}
				if r.Allowed {
					allowed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if got := allowed.Load(); got != quota {
		t.Errorf("%d uses were allowed, want %d", got, quota)
	}
}

func TestMemory_HoldsNoMoreKeysThanItWasMadeFor(t *testing.T) {
	t.Parallel()
	const limit = 1280
	m := newMemory(t, limit)
	p := core.RateLimitPolicy{Quota: 10, Window: time.Hour}
	for i := range 20 * limit {
		take(t, m, strconv.Itoa(i), p)
		if n := m.Len(); i%1000 == 0 && n > limit {
			t.Fatalf("%d keys have a count, want at most %d", n, limit)
		}
	}
	if n := m.Len(); n > limit || n < limit/2 {
		t.Errorf("%d keys have a count, want about %d", n, limit)
	}
}

// A key that is used to its limit must not get its quota back because others come and go.
func TestMemory_KeepsTheKeyThatOwesMost(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 64*64)
	p := core.RateLimitPolicy{Quota: 1000, Window: time.Hour}
	for range 1000 {
		take(t, m, "greedy", p)
	}
	for i := range 64 * 64 * 10 {
		take(t, m, strconv.Itoa(i), p)
	}
	if r := take(t, m, "greedy", p); r.Remaining > 10 {
		t.Errorf("a flood of other keys gave it its quota back: %+v", r)
	}
}

func TestMemory_ForgetsKeysThatAreNotUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, 0)
		p := core.RateLimitPolicy{Quota: 1, Window: time.Second}
		for i := range 10_000 {
			take(t, m, strconv.Itoa(i), p)
		}
		time.Sleep(time.Second)
		for i := range 10_000 {
			take(t, m, "new"+strconv.Itoa(i), p)
		}
		if n := m.Len(); n > 11_000 {
			t.Errorf("%d keys have a count, of which 10,000 are in use", n)
		}
	})
}

func TestNewMemory_RefusesANegativeBound(t *testing.T) {
	t.Parallel()
	if _, err := ratelimit.NewMemory(-1); err == nil {
		t.Error("no error")
	}
}

// FuzzTake looks for a sequence of uses that gets more than its quota and what came back meanwhile.
func FuzzTake(f *testing.F) {
	f.Add(int64(3), int64(time.Second), []byte{0, 0, 0, 255})
	f.Add(int64(1)<<31, int64(1), []byte{1})
	f.Fuzz(func(t *testing.T, quota, window int64, waits []byte) {
		const most = 366 * 24 * time.Hour
		if quota < 1 || quota > 1<<31 || window < 1 || window > int64(most) {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			m := newMemory(t, 0)
			p := core.RateLimitPolicy{Quota: quota, Window: time.Duration(window)}
			interval := max(p.Window/time.Duration(quota), 1)
			start := time.Now()
			var allowed int64
			for _, w := range waits {
				time.Sleep(time.Duration(w) * interval / 16)
				r := take(t, m, "key", p)
				if r.Allowed {
					allowed++
				}
				if r.Remaining < 0 || r.Remaining >= quota || r.ResetAfter < 0 ||
					r.RetryAfter < 0 || r.Allowed != (r.RetryAfter == 0) {
					t.Fatalf("%+v", r)
				}
			}
			if most := quota + int64(time.Since(start)/interval); allowed > most {
				t.Fatalf("%d uses were allowed, at most %d are", allowed, most)
			}
		})
	})
}

func BenchmarkTake(b *testing.B) {
	p := core.RateLimitPolicy{Quota: 1 << 30, Window: time.Second}
	for _, keys := range []int{1, 10_000} {
		ids := make([]string, keys)
		for i := range ids {
			ids[i] = uuid.NewString()
		}
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			m := newMemory(b, 0)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				take(b, m, ids[i%keys], p)
			}
		})
		b.Run(fmt.Sprintf("parallel/keys=%d", keys), func(b *testing.B) {
			m := newMemory(b, 0)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := m.Take(b.Context(), network, ids[i%keys], p); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
