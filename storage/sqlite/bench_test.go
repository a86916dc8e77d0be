package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// BenchmarkLookUp reads random keys. The one with a million keys takes half a minute to load them, and runs when
// TALOS_BENCH_MILLION is set.
func BenchmarkLookUp(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run("keys="+strconv.Itoa(n), func(b *testing.B) {
			if n > 1000 && os.Getenv("TALOS_BENCH_MILLION") == "" {
				b.Skip("TALOS_BENCH_MILLION is not set")
			}
			s := benchStore(b)
			ids := load(b, s, n)
			b.Run("one goroutine", func(b *testing.B) {
				// A context that can end, as callers have.
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := s.Get(ctx, core.NetworkID{}, ids[i*7919%n]); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("parallel", func(b *testing.B) {
				var next atomic.Int64
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := s.Get(b.Context(), core.NetworkID{}, ids[int(next.Add(7919))%n]); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
			b.Run("100 at once", func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					at := i * 7919 % (n - 100)
					found, err := s.GetMany(b.Context(), core.NetworkID{}, ids[at:at+100])
					if err != nil || len(found) != 100 {
						b.Fatal(len(found), err)
					}
				}
			})
		})
	}
}

// BenchmarkCreate creates keys durably, one after the other and by 64 callers at once.
func BenchmarkCreate(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run("callers="+strconv.Itoa(callers), func(b *testing.B) {
			s := benchStore(b)
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan error, callers)
			b.ResetTimer()
			for range callers {
				go func() {
					for left.Add(-1) >= 0 {
						if _, _, err := s.Create(b.Context(), benchKey()); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
			}
			for range callers {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "keys/s")
		})
	}
}

// BenchmarkPoll is what a watcher does at each poll.
func BenchmarkPoll(b *testing.B) {
	for _, since := range []string{"nothing", "uses", "changes"} {
		b.Run("after "+since, func(b *testing.B) {
			s := benchStore(b)
			used := core.Use{KeyID: load(b, s, 1)[0], Time: time.Now()}
			watching, err := outsidePool(uri(pathOf(b, s), busyTimeout, "query_only(1)"))
			if err != nil {
				b.Fatal(err)
			}
			w := &watcher{db: watching, positions: new(feed.Positions)}
			defer func() {
				w.drop()
				if err := watching.Close(); err != nil {
					b.Error(err)
				}
			}()
			if err := w.begin(b.Context()); err != nil {
				b.Fatal(err)
			}
			ctx := context.WithoutCancel(b.Context())
			for b.Loop() {
				b.StopTimer()
				var err error
				switch since {
				case "uses":
					used.Time = used.Time.Add(time.Hour)
					err = s.RecordUse(ctx, []core.Use{used})
				case "changes":
					_, _, err = s.Create(ctx, benchKey())
				}
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if _, err := w.poll(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchStore(b *testing.B) *Store {
	b.Helper()
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "talos.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

func benchKey() core.Key {
	return core.Key{
		ID: uuid.NewString(), Kind: core.Issued, Name: "a key of an ordinary name", ActorID: "user:1234567890",
		Scopes: []string{"orders:read", "orders:write"}, Metadata: json.RawMessage(`{"tier":"gold"}`),
		Visibility: core.VisibilitySecret, Status: core.StatusActive,
	}
}

// load creates n keys in few transactions and returns their ids.
func load(b *testing.B, s *Store, n int) []string {
	b.Helper()
	db, err := outsidePool(uri(pathOf(b, s), busyTimeout, "cache_size(-262144)"))
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.WithoutCancel(b.Context())
	defer func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	}()
	ids := make([]string, 0, n)
	for len(ids) < n {
		if err := loadSome(ctx, db, &ids, min(n, len(ids)+50_000)); err != nil {
			b.Fatal(err)
		}
	}
	return ids
}

func loadSome(ctx context.Context, db *sql.DB, ids *[]string, upTo int) (err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	w, err := sqlstore.NewWriter(ctx, sqlstore.SQLPreparer{On: tx}, dialect())
	if err != nil {
		return err
	}
	for len(*ids) < upTo {
		k := benchKey()
		if _, _, err := w.Create(ctx, k); err != nil {
			return err
		}
		*ids = append(*ids, k.ID)
	}
	if _, err := w.Finish(ctx); err != nil {
		return err
	}
	return errors.Join(w.Close(), tx.Commit())
}

// BenchmarkCreateMany creates 1000 keys in one go, which a quota counts first or not.
func BenchmarkCreateMany(b *testing.B) {
	for _, quota := range []int64{0, 1 << 40} {
		b.Run("quota="+strconv.FormatBool(quota > 0), func(b *testing.B) {
			s := benchStore(b)
			keys := make([]core.Key, 1000)
			for b.Loop() {
				b.StopTimer()
				for i := range keys {
					keys[i] = benchKey()
				}
				b.StartTimer()
				results, err := s.CreateMany(b.Context(), core.NetworkID{}, keys, quota)
				if err != nil || !results[999].Created {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(1000*b.N)/b.Elapsed().Seconds(), "keys/s")
		})
	}
}

// BenchmarkList reads pages of 1000 of a million keys, and runs when TALOS_BENCH_MILLION is set.
func BenchmarkList(b *testing.B) {
	if os.Getenv("TALOS_BENCH_MILLION") == "" {
		b.Skip("TALOS_BENCH_MILLION is not set")
	}
	s := benchStore(b)
	load(b, s, 1_000_000)
	base := core.ListQuery{Kind: core.Issued, Now: time.Now(), Limit: 1000}
	actor, active, expired := base, base, base
	actor.ActorID, active.Status, expired.Status = "user:1234567890", core.StatusActive, core.StatusExpired
	for _, list := range []struct {
		name  string
		query core.ListQuery
		full  bool
	}{{"all", base, true}, {"actor", actor, true}, {"active", active, true}, {"expired", expired, false}} {
		for _, page := range []int{1, 500, 999} {
			b.Run(list.name+"/page="+strconv.Itoa(page), func(b *testing.B) {
				q := list.query
				q.After = uint64((page - 1) * 1000) // the keys are all that was ever written
				for b.Loop() {
					got, err := s.List(b.Context(), q)
					if err != nil || list.full && len(got.Keys) != 1000 {
						b.Fatal(len(got.Keys), err)
					}
				}
			})
		}
	}
	b.Run("quota", func(b *testing.B) {
		for b.Loop() {
			results, err := s.CreateMany(b.Context(), core.NetworkID{}, []core.Key{benchKey()}, 1_000_000)
			if err != nil || core.ReasonOf(results[0].Err) != core.KeyQuotaExceeded {
				b.Fatal(results, err)
			}
		}
	})
}
