package storagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
)

// BenchSize is how many keys TALOS_BENCH_KEYS asks for, or a number for a quick run.
func BenchSize(b *testing.B, quick int) int {
	b.Helper()
	text := os.Getenv("TALOS_BENCH_KEYS")
	if text == "" {
		return quick
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("TALOS_BENCH_KEYS is %q, not a number of keys", text)
	}
	return n
}

// BenchKeyID is the id of the i-th of many keys, from 0.
func BenchKeyID(i int) string { return fmt.Sprintf("key-%012d", i+1) }

// BenchActor is the i-th of the hundred actors that many keys have, by turns.
func BenchActor(i int) string { return "user:" + strconv.Itoa(i%100) }

// BenchKey is a key of an ordinary size.
func BenchKey(id, actor string) core.Key {
	return core.Key{
		ID: id, Kind: core.Issued, Name: "a key of an ordinary name", ActorID: actor,
		Scopes: []string{"orders:read", "orders:write"}, Metadata: json.RawMessage(`{"tier":"gold"}`),
		Visibility: core.VisibilitySecret, Status: core.StatusActive,
	}
}

// BenchmarkKeys opens a store with n keys, looks keys up that are far apart, and reads pages of 1,000. The keys have
// the ids of BenchKeyID and the actors of BenchActor.
func BenchmarkKeys(b *testing.B, n int, open func() (core.Store, error)) {
	ctx, cancel := context.WithCancel(b.Context()) // it can end, as those of callers can
	defer cancel()
	far := func(i int) string { return BenchKeyID(i * 7919 % n) }
	opened := func(b *testing.B) core.Store {
		b.Helper()
		s, err := open()
		if err == nil {
			_, err = s.Get(ctx, core.NetworkID{}, BenchKeyID(n/2))
		}
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			if err := opened(b).Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	s := opened(b)
	b.Run("get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := s.Get(ctx, core.NetworkID{}, far(i)); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, 1)
	})
	b.Run("get parallel", func(b *testing.B) {
		var next atomic.Int64
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Get(ctx, core.NetworkID{}, far(int(next.Add(1)))); err != nil {
					b.Error(err)
					return
				}
			}
		})
		perSecond(b, 1)
	})
	b.Run("get 100 at once", func(b *testing.B) {
		ids := make([]string, 100)
		for i := 0; b.Loop(); i++ {
			for j := range ids {
				ids[j] = far(i*len(ids) + j)
			}
			if found, err := s.GetMany(ctx, core.NetworkID{}, ids); err != nil || len(found) != len(ids) {
				b.Fatal(len(found), err)
			}
		}
		perSecond(b, len(ids))
	})
	benchmarkLists(b, s, n)
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}

// benchmarkLists reads pages of each kind of list, from its beginning and from its middle.
func benchmarkLists(b *testing.B, s core.Store, n int) {
	b.Helper()
	base := core.ListQuery{Kind: core.Issued, Now: time.Now(), Limit: 1000}
	actor, active, expired := base, base, base
	actor.ActorID, active.Status, expired.Status = BenchActor(7), core.StatusActive, core.StatusExpired
	for name, q := range map[string]core.ListQuery{
		"all": base, "actor": actor, "active": active, "expired": expired,
	} {
		for _, at := range []uint64{0, uint64(n / 2)} { //nolint:gosec // a number of keys
			b.Run(fmt.Sprintf("list/%s/after=%d", name, at), func(b *testing.B) {
				q.After = at
				for b.Loop() {
					if _, err := s.List(b.Context(), q); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkCreate creates keys durably, by a number of callers at each store.
func BenchmarkCreate(b *testing.B, callers int, stores ...core.Store) {
	var (
		left atomic.Int64
		all  sync.WaitGroup
	)
	left.Store(int64(b.N))
	b.ResetTimer()
	for _, s := range stores {
		for range callers {
			all.Go(func() {
				for left.Add(-1) >= 0 {
					if _, _, err := s.Create(b.Context(), BenchKey(uuid.NewString(), BenchActor(0))); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	b.StopTimer()
	perSecond(b, 1)
}

// BenchmarkCreateMany creates 1000 keys in one go, which a quota counts first or not.
func BenchmarkCreateMany(b *testing.B, s core.Store) {
	for name, quota := range map[string]int64{"quota": 1 << 40, "no quota": 0} {
		b.Run(name, func(b *testing.B) {
			keys := make([]core.Key, 1000)
			for b.Loop() {
				b.StopTimer()
				for i := range keys {
					keys[i] = BenchKey(uuid.NewString(), BenchActor(0))
				}
				b.StartTimer()
				results, err := s.CreateMany(b.Context(), core.NetworkID{}, keys, quota)
				if err != nil || !results[len(keys)-1].Created {
					b.Fatal(err)
				}
			}
			perSecond(b, len(keys))
		})
	}
}

// perSecond reports a rate of n times the number of calls.
func perSecond(b *testing.B, n int) {
	b.Helper()
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "keys/s")
}
