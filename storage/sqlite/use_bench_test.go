package sqlite

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// BenchmarkRecordUse writes the uses of 10,000 of 100,000 keys at once, while one caller creates a key after the other,
// and reports how long these changes take, the median and the longest. Without uses they take as long as in idle/op.
func BenchmarkRecordUse(b *testing.B) {
	s := benchStore(b)
	ids := load(b, s, 100_000)
	at := time.Now()
	changes := func(until <-chan struct{}) []time.Duration {
		var took []time.Duration
		for {
			select {
			case <-until:
				slices.Sort(took)
				return took
			default:
			}
			began := time.Now()
			if _, _, err := s.Create(b.Context(), benchKey()); err != nil {
				b.Error(err)
			}
			took = append(took, time.Since(began))
		}
	}
	end := make(chan struct{})
	time.AfterFunc(2*time.Second, func() { close(end) })
	idle := changes(end)
	var busy []time.Duration
	for b.Loop() {
		b.StopTimer()
		uses := make([]core.Use, 10_000)
		at = at.Add(time.Hour)
		for i, n := range rand.Perm(len(ids))[:len(uses)] {
			uses[i] = core.Use{KeyID: ids[n], Time: at}
		}
		end, done := make(chan struct{}), make(chan []time.Duration)
		go func() { done <- changes(end) }()
		b.StartTimer()
		if err := s.RecordUse(b.Context(), uses); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		close(end)
		busy = append(busy, <-done...)
		b.StartTimer()
	}
	slices.Sort(busy)
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	b.ReportMetric(ms(idle[len(idle)/2]), "idle-p50-ms")
	b.ReportMetric(ms(idle[len(idle)-1]), "idle-max-ms")
	b.ReportMetric(ms(busy[len(busy)/2]), "change-p50-ms")
	b.ReportMetric(ms(busy[len(busy)*99/100]), "change-p99-ms")
	b.ReportMetric(ms(busy[len(busy)-1]), "change-max-ms")
}
