package redis_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/storage/redis/redistest"
)

// entry is the name of a key's entry.
func entry(key string) string { return "talos:limit:" + network.String() + ":" + key }

// stored is the moment that is stored for a key, and the clock of Redis; 0 when nothing is stored.
func stored(t *testing.T, s *redistest.Server, key string) time.Duration {
	t.Helper()
	text := s.Client.Get(t.Context(), entry(key)).Val()
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n) * time.Microsecond
}

// clock is the time of Redis in its own steps, since an epoch at which a time.Duration holds it.
func clock(t *testing.T, s *redistest.Server) time.Duration {
	t.Helper()
	now, err := s.Client.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.UnixMicro()) * time.Microsecond
}

// The script decides as the algorithm of package ratelimit does, for any policy and at any moment. Time passes by
// setting back what is stored.
func TestTake_FollowsTheAlgorithmOfPackageRatelimit(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := open(t, patient(s))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 60 {
		key := uuid.NewString()
		for range 10 {
			p := core.RateLimitPolicy{
				Quota:  1 + random.Int64N(1<<random.IntN(41)),
				Window: time.Duration(1+random.IntN(365*24*3600)) * time.Second,
			}
			if random.IntN(3) > 0 {
				p.Quota = 1 + random.Int64N(5)
			}
			full := stored(t, s, key)
			if full != 0 {
				full -= time.Duration(random.Int64N(int64(2 * p.Window))).Truncate(time.Microsecond)
				s.Do(t, "SET", entry(key), full.Microseconds())
			}
			earliest := clock(t, s)
			got := l.take(t, key, p)
			latest := clock(t, s)
			after := stored(t, s, key)
			if after == 0 && got.Allowed && got.ResetAfter < time.Second {
				continue // the entry has expired already
			}

			// The moment at which the script ran follows from what it left.
			cell := ratelimit.CellOf(p, time.Microsecond)
			now := after - got.ResetAfter
			if now < earliest || now > latest {
				t.Errorf("%+v with %s stored: the count ran at %s, not between %s and %s",
					p, full, now, earliest, latest)
			}
			want, next := cell.Take(now, full)
			if got != want {
				t.Errorf("%+v with %s stored, at %s: %+v, want %+v", p, full, now, got, want)
			}
			if after != next {
				t.Errorf("%+v with %s stored, at %s: %s was stored, want %s", p, full, now, after, next)
			}
			if t.Failed() {
				return
			}
		}
	}
	if n := l.local.Load(); n != 0 {
		t.Errorf("%d uses were not counted in Redis", n)
	}
}

func TestTake_CountsKeysAndNetworksApart(t *testing.T) {
	t.Parallel()
	l := open(t, patient(redistest.Start(t)))
	for _, n := range []core.NetworkID{{}, uuid.New(), uuid.New()} {
		for _, key := range []string{"a", "b", "", "{a}", "a\x00\r\n"} {
			for i, want := range []bool{true, false} {
				if r, err := l.Take(t.Context(), n, key, seldom(1)); err != nil || r.Allowed != want {
					t.Errorf("network %s, key %q, use %d: %+v, %v", n, key, i+1, r, err)
				}
			}
		}
	}
}

func TestTake_WithoutAQuotaCountsNothing(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := open(t, patient(s))
	l.take(t, "counted", seldom(1))
	if r := l.take(t, "key", core.RateLimitPolicy{}); r != (ratelimit.Result{Allowed: true}) {
		t.Errorf("got %+v", r)
	}
	if n := s.Client.Exists(t.Context(), entry("key")).Val(); n != 0 {
		t.Error("there is an entry")
	}
}

func TestTake_AnEntryExpiresWhenTheKeyHasItsWholeQuotaAgain(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := open(t, patient(s))
	for _, p := range []core.RateLimitPolicy{seldom(1), seldom(1000), {Quota: 3, Window: time.Hour}} {
		key := uuid.NewString()
		l.take(t, key, p)
		r := l.take(t, key, p)
		left := s.Client.PTTL(t.Context(), entry(key)).Val()
		if early := r.ResetAfter - left; left <= 0 || early > time.Minute || early < -time.Millisecond {
			t.Errorf("%+v: the entry expires in %s, want %s", p, left, r.ResetAfter)
		}
	}
	l.take(t, "short", core.RateLimitPolicy{Quota: 1 << 40, Window: time.Second})
	redistest.Await(t, "the entry of a key with its whole quota is gone", func() bool {
		return s.Client.Exists(t.Context(), entry("short")).Val() == 0
	})
}

func TestTake_TogetherAllowsTheQuotaAndNoMore(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	nodes := []*limiter{open(t, patient(s)), open(t, patient(s)), open(t, patient(s))}
	const quota = 500
	var allowed atomic.Int64
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			for range 50 {
				if nodes[i%len(nodes)].take(t, "key", seldom(quota)).Allowed {
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

// What concurrent uses have in common is a round trip, and no more: one connection for calls is enough.
func TestTake_SharesOneConnection(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := open(t, patient(s))
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 20 {
				l.take(t, uuid.NewString(), seldom(1))
			}
		})
	}
	all.Wait()
	if list, ok := s.Do(t, "CLIENT", "LIST").(string); !ok || strings.Count(list, "\n") != 2 {
		t.Errorf("not one connection beside the test's own:\n%s", list)
	}
	if calls := l.answered.Load(); calls >= 64*20 {
		t.Errorf("%d calls for %d uses", calls, 64*20)
	}
}

func TestTake_IsNotHurriedByItsCaller(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := open(t, patient(s))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if _, err := l.Take(ctx, network, "key", seldom(10)); err != nil {
			t.Error(err)
		}
	}
	if r := l.take(t, "key", seldom(10)); r.Remaining != 6 || l.local.Load() != 0 {
		t.Errorf("got %+v after 3 uses of a caller that had left, %d of them not counted in Redis", r, l.local.Load())
	}
}

func TestClose_LaterUsesAreCountedInThisProcess(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := open(t, patient(s))
	l.take(t, "key", seldom(2))
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, false} {
		if r := l.take(t, "key", seldom(2)); r.Allowed != want {
			t.Errorf("use %d: %+v", i+1, r)
		}
	}
	if got := l.local.Load(); got != 3 {
		t.Errorf("%d uses were counted in this process, want 3", got)
	}
}
