package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
	"github.com/talos-edge/talos-edge/storage/storagetest"
)

// BenchmarkKeys loads TALOS_BENCH_KEYS keys, or 1,000, and uses them. A million take half a minute to load.
func BenchmarkKeys(b *testing.B) {
	s := benchStore(b)
	n := storagetest.BenchSize(b, 1000)
	load(b, s, n)
	storagetest.BenchmarkKeys(b, n, func() (core.Store, error) { return Open(b.Context(), pathOf(b, s), Options{}) })
	b.Run("quota", func(b *testing.B) {
		for b.Loop() {
			results, err := s.CreateMany(b.Context(), core.NetworkID{}, []core.Key{benchKey()}, int64(n))
			if err != nil || core.ReasonOf(results[0].Err) != core.KeyQuotaExceeded {
				b.Fatal(results, err)
			}
		}
	})
}

// BenchmarkCreate creates keys durably, one after the other and by 64 callers at once.
func BenchmarkCreate(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run("callers="+strconv.Itoa(callers), func(b *testing.B) {
			storagetest.BenchmarkCreate(b, callers, benchStore(b))
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

func benchKey() core.Key { return storagetest.BenchKey(uuid.NewString(), storagetest.BenchActor(0)) }

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
		i := len(*ids)
		k := storagetest.BenchKey(storagetest.BenchKeyID(i), storagetest.BenchActor(i))
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
func BenchmarkCreateMany(b *testing.B) { storagetest.BenchmarkCreateMany(b, benchStore(b)) }
