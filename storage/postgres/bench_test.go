package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

// benchDatabase is a database on a server with the settings of a new cluster, durability included, and with memory for
// some million keys.
func benchDatabase(b *testing.B) (dsn string) {
	b.Helper()
	return pgtest.Start(b, "shared_buffers = 512MB", "max_wal_size = 4GB").Database(b)
}

func benchKey() core.Key {
	return core.Key{
		ID: uuid.NewString(), Kind: core.Issued, Name: "a key of an ordinary name", ActorID: "user:1234567890",
		Scopes: []string{"orders:read", "orders:write"}, Metadata: json.RawMessage(`{"tier":"gold"}`),
		Visibility: core.VisibilitySecret, Status: core.StatusActive,
	}
}

// benchKeys are how many keys TALOS_BENCH_KEYS asks for, or 1,000.
func benchKeys(b *testing.B) int {
	b.Helper()
	n, err := strconv.Atoi(os.Getenv("TALOS_BENCH_KEYS"))
	if err != nil {
		return 1000
	}
	return n
}

func keyID(i int) string { return fmt.Sprintf("key-%012d", i+1) }

// BenchmarkKeys opens a database with keys, looks random ones up, and reads pages of 1,000. TALOS_BENCH_KEYS says how
// many keys there are; ten million take some minutes to load, and 10 GB.
func BenchmarkKeys(b *testing.B) {
	dsn := benchDatabase(b)
	n := benchKeys(b)
	must(b, openAt(b, dsn, Options{}).Close())
	began := time.Now()
	execute(b, dsn, manyKeys(n))
	b.Logf("loaded %d keys in %v", n, time.Since(began))
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			s, err := Open(b.Context(), location(dsn), Options{})
			must(b, err)
			_, err = s.Get(b.Context(), core.NetworkID{}, keyID(n/2))
			must(b, err)
			must(b, s.Close())
		}
	})
	s := openAt(b, dsn, Options{})
	b.Run("get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_, err := s.Get(b.Context(), core.NetworkID{}, keyID(i*7919%n))
			must(b, err)
		}
		perSecond(b, 1)
	})
	b.Run("get parallel", func(b *testing.B) {
		var next atomic.Int64
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Get(b.Context(), core.NetworkID{}, keyID(int(next.Add(7919))%n)); err != nil {
					b.Error(err)
				}
			}
		})
		perSecond(b, 1)
	})
	b.Run("get 100 at once", func(b *testing.B) {
		ids := make([]string, 100)
		for i := 0; b.Loop(); i++ {
			for j := range ids {
				ids[j] = keyID((i*100 + j) * 7919 % n)
			}
			found, err := s.GetMany(b.Context(), core.NetworkID{}, ids)
			if err != nil || len(found) != 100 {
				b.Fatal(len(found), err)
			}
		}
		perSecond(b, 100)
	})
	base := core.ListQuery{Kind: core.Issued, Now: time.Now(), Limit: 1000}
	actor, active := base, base
	actor.ActorID, active.Status = "user:7", core.StatusActive
	for name, q := range map[string]core.ListQuery{"all": base, "actor": actor, "active": active} {
		for _, at := range []int{0, n / 2} {
			b.Run(fmt.Sprintf("list/%s/after=%d", name, at), func(b *testing.B) {
				q.After = uint64(at)
				for b.Loop() {
					_, err := s.List(b.Context(), q)
					must(b, err)
				}
			})
		}
	}
}

// BenchmarkCreate creates keys durably: one caller after the other, 64 at once, and 64 through each of several nodes.
func BenchmarkCreate(b *testing.B) {
	for _, tt := range []struct{ nodes, callers int }{{1, 1}, {1, 64}, {2, 64}, {4, 64}} {
		b.Run(fmt.Sprintf("nodes=%d/callers=%d", tt.nodes, tt.callers), func(b *testing.B) {
			dsn := benchDatabase(b)
			stores := make([]*Store, tt.nodes)
			for i := range stores {
				stores[i] = openAt(b, dsn, Options{})
			}
			var (
				left    atomic.Int64
				callers sync.WaitGroup
			)
			left.Store(int64(b.N))
			b.ResetTimer()
			for _, s := range stores {
				for range tt.callers {
					callers.Go(func() {
						for left.Add(-1) >= 0 {
							if _, _, err := s.Create(b.Context(), benchKey()); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
			}
			callers.Wait()
			b.StopTimer()
			perSecond(b, 1)
			want := strconv.Itoa(b.N)
			if got := queryText(b, dsn, "SELECT count(*)::text FROM events"); got != want {
				b.Errorf("%s of %s changes are in the feed", got, want)
			}
			if got := queryText(b, dsn, "SELECT last::text FROM feed_last"); got != want {
				b.Errorf("the feed has a gap: its position is %s after %s changes", got, want)
			}
		})
	}
}

// BenchmarkRevocation revokes keys on one node, and ends when another one has applied it. It reports how long that took
// after the answer, which one waits for on this machine with what else runs there.
func BenchmarkRevocation(b *testing.B) {
	dsn := benchDatabase(b)
	s, other := openAt(b, dsn, Options{}), openAt(b, dsn, Options{})
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		k := benchKey()
		_, _, err := s.Create(b.Context(), k)
		must(b, err)
		must(b, other.positions.AwaitAfter(b.Context(), s.positions.Applied()-1))
		b.StartTimer()
		at := s.positions.Applied()
		applied := make(chan time.Time)
		go func() {
			_ = other.positions.AwaitAfter(context.WithoutCancel(b.Context()), at)
			applied <- time.Now()
		}()
		must(b, revoke(b.Context(), s, k.ID))
		answered := time.Now()
		took = append(took, max((<-applied).Sub(answered), 0))
		if other.positions.At(feed.SlotOf(core.NetworkID{}, k.ID)) <= at {
			b.Fatal("it was not applied")
		}
	}
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		b.ReportMetric(took[(len(took)-1)*p/100].Seconds()*1000, fmt.Sprintf("p%d-ms", p))
	}
}

// perSecond reports a rate of n times the number of calls.
func perSecond(b *testing.B, n int) {
	b.Helper()
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "keys/s")
}

// BenchmarkRoundTrip is what a statement costs that does nothing.
func BenchmarkRoundTrip(b *testing.B) {
	dsn := benchDatabase(b)
	c, err := pgx.Connect(b.Context(), dsn)
	must(b, err)
	defer discard(c)
	for b.Loop() {
		must(b, c.QueryRow(b.Context(), "SELECT 1").Scan(new(int)))
	}
}
