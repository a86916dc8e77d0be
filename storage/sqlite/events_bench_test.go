package sqlite

import (
	"strings"
	"sync"
	"testing"

	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
)

// BenchmarkWaitingReaders makes one change for which 1,000 readers of the feed wait, and ends when all have it. Each
// reader on its own would read the feed: that takes ten times as long.
func BenchmarkWaitingReaders(b *testing.B) {
	s := benchStore(b)
	keyring, err := credential.NewKeyring(strings.Repeat("a", 40))
	if err != nil {
		b.Fatal(err)
	}
	e, err := engine.New(engine.Config{Keyring: keyring}, s)
	if err != nil {
		b.Fatal(err)
	}
	const readers = 1000
	for b.Loop() {
		b.StopTimer()
		request := engine.EventsRequest{After: s.Positions().Applied(), Wait: engine.MaxEventsWait}
		var begun, ended sync.WaitGroup
		begun.Add(readers)
		for range readers {
			ended.Go(func() {
				begun.Done()
				if r, err := e.Events(b.Context(), request); err != nil || len(r.Events) != 1 {
					b.Errorf("%d events, %v", len(r.Events), err)
				}
			})
		}
		begun.Wait()
		b.StartTimer()
		if _, _, err := s.Create(b.Context(), benchKey()); err != nil {
			b.Fatal(err)
		}
		ended.Wait()
	}
}
