package transfer_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage"
	"github.com/talos-edge/talos-edge/storage/storagetest"
)

// BenchmarkCopy copies a database of 20,000 keys, or of TALOS_BENCH_KEYS.
func BenchmarkCopy(b *testing.B) {
	size := storagetest.BenchSize(b, 20_000)
	for from, source := range engines {
		b.Run("from="+from, func(b *testing.B) {
			dsn := source(b)
			fill(b, dsn, size)
			for to, target := range engines {
				b.Run("to="+to, func(b *testing.B) {
					for b.Loop() {
						b.StopTimer()
						empty := target(b)
						b.StartTimer()
						copied(b, dsn, empty)
					}
					b.ReportMetric(float64(b.N)*float64(size)/b.Elapsed().Seconds(), "keys/s")
				})
			}
		})
	}
}

// fill creates keys as they are issued.
func fill(b *testing.B, dsn string, size int) {
	b.Helper()
	s, err := storage.Open(b.Context(), dsn, storage.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	for done := 0; done < size; {
		keys := make([]core.Key, min(1000, size-done))
		for i := range keys {
			keys[i] = core.Key{
				ID: uuid.NewString(), Kind: core.Issued, Name: "a key of a customer", Prefix: "talos",
				ActorID: fmt.Sprint("customer ", (done+i)%1000), Scopes: []string{"orders:read", "orders:write"},
				Visibility: core.VisibilitySecret, Status: core.StatusActive, CreateTime: start, UpdateTime: start,
				ExpireTime: start.Add(time.Hour),
			}
		}
		if _, err := s.CreateMany(context.WithoutCancel(b.Context()), core.NetworkID{}, keys, 0); err != nil {
			b.Fatal(err)
		}
		done += len(keys)
	}
}
