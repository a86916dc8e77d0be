package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/pgtest"
	"github.com/talos-edge/talos-edge/storage/storagetest"
)

// benchDatabase is a database on a server with the settings of a new cluster, durability included, and with memory for
// some million keys.
func benchDatabase(b *testing.B) (dsn string) {
	b.Helper()
	return pgtest.Start(b, "shared_buffers = 512MB", "max_wal_size = 4GB").Database(b)
}

// BenchmarkKeys loads TALOS_BENCH_KEYS keys, or 1,000, and uses them. Ten million take six minutes to load, and 10 GB.
func BenchmarkKeys(b *testing.B) {
	dsn := benchDatabase(b)
	n := storagetest.BenchSize(b, 1000)
	must(b, openAt(b, dsn, Options{}).Close())
	began := time.Now()
	execute(b, dsn, manyKeys(n))
	b.Logf("loaded %d keys in %v", n, time.Since(began))
	storagetest.BenchmarkKeys(b, n, func() (core.Store, error) { return Open(b.Context(), location(dsn), Options{}) })
}

// BenchmarkCreate creates keys durably: one caller after the other, 64 at once, and 64 through each of several nodes.
func BenchmarkCreate(b *testing.B) {
	for _, tt := range []struct{ nodes, callers int }{{1, 1}, {1, 64}, {2, 64}, {4, 64}} {
		b.Run(fmt.Sprintf("nodes=%d/callers=%d", tt.nodes, tt.callers), func(b *testing.B) {
			dsn := benchDatabase(b)
			stores := make([]core.Store, tt.nodes)
			for i := range stores {
				stores[i] = openAt(b, dsn, Options{})
			}
			storagetest.BenchmarkCreate(b, tt.callers, stores...)
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

// BenchmarkCreateMany creates 1000 keys in one go, which a quota counts first or not.
func BenchmarkCreateMany(b *testing.B) {
	storagetest.BenchmarkCreateMany(b, openAt(b, benchDatabase(b), Options{}))
}

// BenchmarkRevocation revokes keys on one node, and ends when another one has applied it. It reports how long that took
// after the answer, which one waits for on this machine with what else runs there.
func BenchmarkRevocation(b *testing.B) {
	dsn := benchDatabase(b)
	s, other := openAt(b, dsn, Options{}), openAt(b, dsn, Options{})
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		k := storagetest.BenchKey(uuid.NewString(), storagetest.BenchActor(0))
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
