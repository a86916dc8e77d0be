package redis_test

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/storage/redis/redistest"
)

// BenchmarkTake counts uses of a thousand keys, one after the other and by 64 callers at once. Beside it are a limiter
// in memory, and what one call for each use would cost: a command through the library's pool of connections.
func BenchmarkTake(b *testing.B) {
	s := redistest.Start(b)
	l := open(b, patient(s))
	memory, err := ratelimit.NewMemory(0)
	if err != nil {
		b.Fatal(err)
	}
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = uuid.NewString()
	}
	p := core.RateLimitPolicy{Quota: 1 << 30, Window: time.Hour}
	l.take(b, keys[0], p)
	for _, limiter := range []struct {
		name string
		take func(key string) error
	}{
		{"redis", func(key string) error { _, err := l.Take(b.Context(), network, key, p); return err }},
		{"memory", func(key string) error { _, err := memory.Take(b.Context(), network, key, p); return err }},
		{"a call each", func(key string) error { return s.Client.IncrBy(b.Context(), key, 1).Err() }},
	} {
		for _, callers := range []int{1, 64} {
			b.Run(limiter.name+"/callers="+strconv.Itoa(callers), func(b *testing.B) {
				b.ReportAllocs()
				var all sync.WaitGroup
				for c := range callers {
					all.Go(func() {
						for i := c; i < b.N; i += callers {
							if err := limiter.take(keys[i%len(keys)]); err != nil {
								b.Error(err)
							}
						}
					})
				}
				all.Wait()
			})
		}
	}
	if n := l.local.Load(); n != 0 {
		b.Errorf("%d uses were not counted in Redis", n)
	}
}
