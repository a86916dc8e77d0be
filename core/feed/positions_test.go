package feed_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core/feed"
)

func event(position uint64, network uuid.UUID, keyID string) feed.Event {
	return feed.Event{Position: position, Network: network, KeyID: keyID, Kind: feed.EventRevoked}
}

func TestPositions_AChangeRaisesItsKeyAndNoOther(t *testing.T) {
	t.Parallel()
	var p feed.Positions
	other := uuid.MustParse("550e8400-e29b-41d4-a716-446655440001")
	p.Apply(event(1, uuid.Nil, "a"), event(2, uuid.Nil, "b"), event(3, uuid.Nil, "a"))
	if got := p.At(feed.SlotOf(uuid.Nil, "a")); got != 3 {
		t.Errorf("the changed key is at %d, want 3", got)
	}
	if got := p.At(feed.SlotOf(other, "a")); got != 0 {
		t.Errorf("the same key id in another network is at %d, want 0", got)
	}
	if p.Applied() != 3 || p.Changed(feed.EventRevoked) != 3 || p.Changed(feed.EventCreated) != 0 ||
		p.Changed(99) != 0 {
		t.Errorf("applied %d, revoked %d", p.Applied(), p.Changed(feed.EventRevoked))
	}
}

func TestPositions_AnEventIsTakenInOnceAndNeverLowers(t *testing.T) {
	t.Parallel()
	var p feed.Positions
	p.Begin(10)
	p.Apply(event(11, uuid.Nil, "a"))
	p.Apply(event(9, uuid.Nil, "a"), event(11, uuid.Nil, "a"))
	p.Begin(5)
	if p.Applied() != 11 || p.At(feed.SlotOf(uuid.Nil, "a")) != 11 || p.Changed(feed.EventRevoked) != 1 {
		t.Errorf("applied %d, slot %d, changes %d", p.Applied(), p.At(feed.SlotOf(uuid.Nil, "a")),
			p.Changed(feed.EventRevoked))
	}
}

func TestPositions_AChangeOfAnyKeyRaisesAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p feed.Positions
		p.Apply(event(1, uuid.Nil, "a"), event(2, uuid.Nil, "b"))
		waited := make(chan error, 1)
		go func() { waited <- p.AwaitAfter(t.Context(), 2) }()
		synctest.Wait()
		p.Reset(3)
		for i := range 1 << 16 {
			if at := p.At(feed.Slot(i)); at != 3 {
				t.Fatalf("slot %d is at %d", i, at)
			}
		}
		if err := <-waited; err != nil || p.Applied() != 3 {
			t.Errorf("applied %d, %v", p.Applied(), err)
		}
	})
}

// Whoever reads a position sees each slot that was raised up to it: this is what a verdict's position promises.
func TestPositions_APositionIsNeverAheadOfTheSlots(t *testing.T) {
	t.Parallel()
	var p feed.Positions
	slot := feed.SlotOf(uuid.Nil, "a")
	var wg sync.WaitGroup
	const n = 2000
	wg.Go(func() {
		for i := uint64(1); i <= n; i++ {
			p.Apply(event(i, uuid.Nil, "a"))
		}
	})
	for range 4 {
		wg.Go(func() {
			for {
				applied := p.Applied()
				if at := p.At(slot); at < applied {
					t.Errorf("applied %d, but the slot is at %d", applied, at)
					return
				}
				if applied == n {
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestPositions_TellsWhenTheFeedWasLastComplete(t *testing.T) {
	t.Parallel()
	var p feed.Positions
	if p.CompleteAt() != 0 {
		t.Error("complete before it was said")
	}
	at := time.Now()
	p.MarkComplete(at)
	if p.CompleteAt() != at.UnixNano() {
		t.Errorf("complete at %d, want %d", p.CompleteAt(), at.UnixNano())
	}
}

func TestPositions_WhoAwaitsAChangeIsWokenByIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p feed.Positions
		p.Begin(4)
		if err := p.AwaitAfter(t.Context(), 3); err != nil {
			t.Errorf("what is applied already: %v", err)
		}
		var woken atomic.Int32
		for range 3 {
			go func() {
				if err := p.AwaitAfter(t.Context(), 4); err == nil {
					woken.Add(1)
				}
			}()
		}
		synctest.Wait()
		p.Apply(event(4, uuid.Nil, "a")) // is applied already
		synctest.Wait()
		if n := woken.Load(); n != 0 {
			t.Errorf("%d were woken by nothing", n)
		}
		p.Apply(event(5, uuid.Nil, "a"))
		synctest.Wait()
		if n := woken.Load(); n != 3 {
			t.Errorf("%d of 3 were woken", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.AwaitAfter(ctx, 5); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a change: %v", err)
		}
	})
}
