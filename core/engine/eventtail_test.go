package engine_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/feed"
)

// Each change wakes all who wait for one.
func TestEvents_AThousandReadersCostTheStoreAsMuchAsAFew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFeed()
		s.fill(1, "k")
		e := newEngine(t, s, nil)
		results := make(chan engine.EventsResult)
		ask := func(after uint64) {
			for i := range 1000 {
				go func() {
					r := engine.EventsRequest{After: after, Wait: 10 * time.Second, PageSize: 1 + i%core.MaxEvents}
					if i%2 == 0 {
						r.Filter = fmt.Sprintf(`key_id="%d"`, i)
					}
					results <- read(t, e, r)
				}()
			}
			synctest.Wait()
		}
		for after := uint64(1); after < 4; after++ {
			ask(after)
			s.fill(1, "k")
			for range 500 {
				result := <-results
				wantPage(t, &result, []uint64{after + 1}, after+1, true, false)
			}
			time.Sleep(10 * time.Second)
			for range 500 {
				result := <-results
				wantPage(t, &result, nil, after+1, true, false)
				if age := time.Since(result.CompleteAt); age != 0 {
					t.Errorf("a page is %s old", age)
				}
			}
			if n := s.readCount(); n > 3 { // when they come, at the change, and at the end
				t.Errorf("%d reads", n)
			}
		}
	})
}

func TestEvents_APageIsTakenOverAsLongAsItIsNew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFeed()
		s.fill(3, "k")
		e := newEngine(t, s, nil)
		for i, tc := range []struct {
			pause time.Duration
			after uint64
			reads int
		}{
			{0, 1, 1},
			{0, 1, 0},
			{0, 3, 0}, // it is in the page
			{0, 0, 1}, // this is not
			{0, 2, 0},
			{10 * time.Millisecond, 2, 1},
		} {
			time.Sleep(tc.pause)
			result := read(t, e, engine.EventsRequest{After: tc.after})
			wantPage(t, &result, []uint64{1, 2, 3}[tc.after:], 3, true, false)
			if n := s.readCount(); n != tc.reads {
				t.Errorf("request %d: %d reads, want %d", i, n, tc.reads)
			}
		}
		s.fill(1, "k")
		result := read(t, e, engine.EventsRequest{After: 3})
		wantPage(t, &result, []uint64{4}, 4, true, false)
	})
}

// Another process on the database may have made more changes than fit into a page, and none is applied here yet.
func TestEvents_AFullPageIsNotTakenForTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFeed()
		s.fill(core.MaxEvents+500, "k")
		s.positions = new(feed.Positions)
		e := newEngine(t, s, nil)
		r, at := engine.EventsRequest{PageSize: 700}, uint64(0)
		for at < core.MaxEvents+500 {
			page := read(t, e, r)
			if len(page.Events) == 0 {
				t.Fatalf("it ends at %d", at)
			}
			at += uint64(len(page.Events))
			r.After = page.Position
		}
	})
}

func TestEvents_AFailureIsForThoseWhoAskAtTheTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFeed()
		s.err = core.NewError(core.Unavailable, "down")
		e := newEngine(t, s, nil)
		for range 100 {
			_, err := e.Events(t.Context(), engine.EventsRequest{Wait: time.Second})
			wantReason(t, err, core.Unavailable)
		}
		if n := s.readCount(); n != 1 {
			t.Errorf("%d reads", n)
		}
		s.err = nil
		time.Sleep(10 * time.Millisecond)
		result := read(t, e, engine.EventsRequest{})
		wantPage(t, &result, nil, 0, true, false)
	})
}

// The table of positions may be ahead of what a read shows; a reader must not ask again and again until they agree.
func TestEvents_AReaderDoesNotAskForWhatItHasLookedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFeed()
		s.fill(1, "k")
		s.positions.Begin(7)
		e := newEngine(t, s, nil)
		result := read(t, e, engine.EventsRequest{After: 1, Wait: 10 * time.Second})
		wantPage(t, &result, nil, 1, true, false)
		if n := s.readCount(); n > 2 {
			t.Errorf("%d reads", n)
		}
	})
}
