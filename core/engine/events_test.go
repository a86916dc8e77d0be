package engine_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/feed"
)

// feedStore is a store that has a feed, and nothing else.
type feedStore struct {
	core.Store

	positions *feed.Positions

	mu     sync.Mutex
	page   feed.Page // all that it holds
	reads  int
	err    error  // in place of every page
	onRead func() // after a read, without the lock
}

func newFeed() *feedStore {
	return &feedStore{positions: new(feed.Positions), page: feed.Page{FeedID: "this feed"}}
}

// Positions is that of [core.Store].
func (s *feedStore) Positions() *feed.Positions { return s.positions }

// Events is that of [core.Store].
func (s *feedStore) Events(ctx context.Context, after uint64, limit int) (feed.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reads++; s.err != nil || ctx.Err() != nil {
		return feed.Page{}, errors.Join(s.err, ctx.Err())
	}
	page := s.page
	first := slices.IndexFunc(page.Events, func(e feed.Event) bool { return e.Position > after })
	if first < 0 {
		first = len(page.Events)
	}
	page.Events = slices.Clone(page.Events[first:min(first+limit, len(page.Events))])
	if s.onRead != nil {
		defer s.onRead()
	}
	return page, nil
}

// add adds events at the next positions, or at their own.
func (s *feedStore) add(events ...feed.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		if e.Position == 0 {
			e.Position = s.page.Last + 1
		}
		s.page.Events, s.page.Last = append(s.page.Events, e), e.Position
		s.positions.Apply(e)
	}
}

// fill adds a number of events of a key.
func (s *feedStore) fill(number int, keyID string) {
	s.add(slices.Repeat([]feed.Event{{KeyID: keyID, Kind: feed.EventUpdated}}, number)...)
}

// prune removes the events up to a position. The caller holds the lock, or is alone.
func (s *feedStore) prune(upTo uint64) {
	s.page.Begin = upTo
	first := slices.IndexFunc(s.page.Events, func(e feed.Event) bool { return e.Position > upTo })
	s.page.Events = s.page.Events[first:]
}

// readCount is how often the feed was read since it was last called.
func (s *feedStore) readCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.reads
	s.reads = 0
	return n
}

func read(t *testing.T, e *engine.Engine, r engine.EventsRequest) engine.EventsResult {
	t.Helper()
	result, err := e.Events(t.Context(), r)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return result
}

// wantPage checks a result's events, up to which it has looked, and whether it is complete and a reset.
func wantPage(t *testing.T, got *engine.EventsResult, positions []uint64, position uint64, complete, reset bool) {
	t.Helper()
	var have []uint64
	for i := range got.Events {
		have = append(have, got.Events[i].Position)
	}
	if !slices.Equal(have, positions) || got.Position != position {
		t.Errorf("events %v up to %d, want %v up to %d", have, got.Position, positions, position)
	}
	if got.CompleteAt.IsZero() == complete {
		t.Errorf("complete at %v, but expected complete: %v", got.CompleteAt, complete)
	}
	if got.Reset != reset {
		t.Errorf("reset %v, want %v", got.Reset, reset)
	}
}

func TestEvents_OfAStoreNameEachChange(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, nil)
	issue(t, newEngine(t, store, func(c *engine.Config) { c.Network = uuid.New() }), nil)
	key, _ := issue(t, e, nil)
	fresh, _, _, err := e.Rotate(t.Context(), key.ID, engine.RotateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	result := read(t, e, engine.EventsRequest{})
	types := map[string]string{}
	for i := range result.Events {
		event := &result.Events[i]
		types[event.KeyID] += engine.EventType(event) + " " + event.Related + " "
	}
	if want := "IssuedAPIKeyCreated  IssuedAPIKeyRotated " + fresh.ID + " "; types[key.ID] != want {
		t.Errorf("of the old key %q, want %q", types[key.ID], want)
	}
	if want := "IssuedAPIKeyCreated " + key.ID + " "; types[fresh.ID] != want {
		t.Errorf("of the new key %q, want %q", types[fresh.ID], want)
	}
	if len(types) != 2 || result.Position != 4 {
		t.Errorf("up to %d: %v", result.Position, types)
	}
}

func TestEvents_PagesHoldEachEventOnce(t *testing.T) {
	t.Parallel()
	s := newFeed()
	s.fill(2*core.MaxEvents+1, "k")
	e := newEngine(t, s, nil)
	for _, size := range []int{1, 7, 100, 999, 1000, 5000} {
		r, at := engine.EventsRequest{PageSize: size}, uint64(0)
		if size == 1 {
			r.After, at = 1900, 1900
		}
		for {
			page := read(t, e, r)
			for i := range page.Events {
				if at++; page.Events[i].Position != at {
					t.Fatalf("size %d: event %d is at %d", size, at, page.Events[i].Position)
				}
			}
			if page.Position != at || len(page.Events) > min(size, core.MaxEvents) {
				t.Fatalf("size %d: %d events up to %d", size, len(page.Events), page.Position)
			}
			if r.After = page.Position; !page.CompleteAt.IsZero() {
				break
			}
		}
		if at != 2*core.MaxEvents+1 {
			t.Errorf("size %d ends at %d", size, at)
		}
	}
}

func TestEvents_APageThatEndsWithTheFeedIsComplete(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 5, 100, core.MaxEvents} {
		s := newFeed()
		s.fill(size, "k")
		result := read(t, newEngine(t, s, nil), engine.EventsRequest{PageSize: size})
		if len(result.Events) != size || result.CompleteAt.IsZero() {
			t.Errorf("%d of %d, complete at %v", len(result.Events), size, result.CompleteAt)
		}
	}
}

func TestEvents_OneRequestLooksAtSoManyEventsAndNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = 20 * core.MaxEvents
		s := newFeed()
		s.fill(most+core.MaxEvents, "another")
		s.fill(1, "k")
		e := newEngine(t, s, nil)
		r, began := engine.EventsRequest{Filter: `key_id="k"`, PageSize: 1, Wait: time.Second}, time.Now()
		result := read(t, e, r)
		if result.Position < most || result.Position >= most+core.MaxEvents || len(result.Events) != 0 ||
			!result.CompleteAt.IsZero() || time.Since(began) != 0 {
			t.Fatalf("up to %d: %+v after %s", result.Position, result, time.Since(began))
		}
		if n := s.readCount(); n > 30 {
			t.Errorf("%d reads", n)
		}
		r.After = result.Position
		result = read(t, e, r)
		wantPage(t, &result, []uint64{most + core.MaxEvents + 1}, most+core.MaxEvents+1, true, false)
	})
}

func TestEvents_WhenAReaderStartsOver(t *testing.T) {
	t.Parallel()
	s := newFeed()
	s.fill(5, "k")
	s.prune(2)
	e := newEngine(t, s, nil)
	all := []uint64{3, 4, 5}
	for name, tc := range map[string]struct {
		r     engine.EventsRequest
		want  []uint64
		reset bool
	}{
		"from the beginning":        {engine.EventsRequest{}, all, true},
		"behind what is kept":       {engine.EventsRequest{After: 1}, all, true},
		"at the last removed":       {engine.EventsRequest{After: 2}, all, false},
		"in the middle":             {engine.EventsRequest{After: 4, FeedID: "this feed"}, []uint64{5}, false},
		"at the end":                {engine.EventsRequest{After: 5}, nil, false},
		"beyond the end":            {engine.EventsRequest{After: 6}, nil, true},
		"far beyond the end":        {engine.EventsRequest{After: 1<<64 - 1, Wait: time.Second}, nil, true},
		"in another feed":           {engine.EventsRequest{After: 4, FeedID: "another"}, all, true},
		"beyond the end of another": {engine.EventsRequest{After: 9, FeedID: "another"}, all, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := read(t, e, tc.r)
			wantPage(t, &result, tc.want, 5, true, tc.reset)
			if result.FeedID != "this feed" {
				t.Errorf("the feed is %q", result.FeedID)
			}
		})
	}
}

func TestEvents_AReaderOfTheFeedBeforeARestorationStartsOver(t *testing.T) {
	t.Parallel()
	s := newFeed()
	s.fill(3, "k")
	s.add(feed.Event{Position: 1000, Kind: feed.EventRestored})
	s.fill(1, "k")
	e := newEngine(t, s, nil)
	for name, tc := range map[string]struct {
		r     engine.EventsRequest
		want  []uint64
		reset bool
	}{
		"who begins":                   {engine.EventsRequest{}, []uint64{1, 2, 3, 1001}, false},
		"who does not name its feed":   {engine.EventsRequest{After: 2}, []uint64{3, 1001}, true},
		"whom a filter keeps it from":  {engine.EventsRequest{After: 2, Filter: `key_id="x"`}, nil, true},
		"whose last change was lost":   {engine.EventsRequest{After: 7}, []uint64{1001}, true},
		"who names this feed":          {engine.EventsRequest{After: 2, FeedID: "this feed"}, []uint64{3, 1001}, false},
		"who names the feed before":    {engine.EventsRequest{After: 7, FeedID: "x"}, []uint64{1, 2, 3, 1001}, true},
		"who has read the restoration": {engine.EventsRequest{After: 1000}, []uint64{1001}, false},
		"who has read what follows it": {engine.EventsRequest{After: 1001}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := read(t, e, tc.r)
			wantPage(t, &result, tc.want, 1001, true, tc.reset)
		})
	}
}

func TestEvents_WhatIsRemovedBetweenTwoReadsIsNotSkippedInSilence(t *testing.T) {
	t.Parallel()
	s := newFeed()
	s.fill(10*core.MaxEvents, "another")
	s.fill(1, "k")
	s.onRead = func() { // after the first read, what comes next is removed
		s.onRead = nil
		s.prune(5000)
	}
	e := newEngine(t, s, nil)
	r := engine.EventsRequest{PageSize: core.MaxEvents, Filter: `key_id="k"`}
	result := read(t, e, r)
	wantPage(t, &result, nil, core.MaxEvents, false, false)
	r.After = result.Position
	result = read(t, e, r)
	wantPage(t, &result, []uint64{10*core.MaxEvents + 1}, 10*core.MaxEvents+1, true, true)
}

func TestAttack02_EventsOfAnotherNetworkAreLookedAtAndNotReturned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, network := newFeed(), uuid.New()
		e := newEngine(t, s, func(c *engine.Config) { c.Network = network })
		for _, of := range []uuid.UUID{network, {}, uuid.New()} {
			s.add(feed.Event{Network: of, KeyID: "k"})
		}
		result := read(t, e, engine.EventsRequest{Filter: `key_id="k"`})
		wantPage(t, &result, []uint64{1}, 3, true, false)
		time.AfterFunc(time.Second, func() { s.fill(1, "k") })
		began := time.Now()
		result = read(t, e, engine.EventsRequest{After: 3, Wait: 5 * time.Second})
		wantPage(t, &result, nil, 4, true, false)
		wantTook(t, began, 5*time.Second)
	})
}

func TestEvents_WaitForTheNextOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFeed()
		s.fill(1, "k")
		e := newEngine(t, s, nil)
		time.AfterFunc(3*time.Second, func() { s.fill(1, "another") })
		time.AfterFunc(4*time.Second, func() { s.fill(2, "k") })
		began := time.Now()
		result := read(t, e, engine.EventsRequest{After: 1, Wait: engine.MaxEventsWait, Filter: `key_id="k"`})
		wantPage(t, &result, []uint64{3, 4}, 4, true, false)
		wantTook(t, began, 4*time.Second)
		result = read(t, e, engine.EventsRequest{After: 4, Wait: engine.MaxEventsWait})
		wantPage(t, &result, nil, 4, true, false)
		wantTook(t, began, 4*time.Second+engine.MaxEventsWait)
		if age := time.Since(result.CompleteAt); age != 0 {
			t.Errorf("it was complete %s ago", age)
		}
	})
}

func TestEvents_AWaitThatIsBrokenOffReturnsWhatThereIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFeed()
		s.fill(3*core.MaxEvents, "k")
		e := newEngine(t, s, nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		for _, want := range []time.Duration{2 * time.Second, 0} { // the second one begins when ctx has ended
			began := time.Now()
			result, err := e.Events(ctx, engine.EventsRequest{After: 3 * core.MaxEvents, Wait: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			wantPage(t, &result, nil, 3*core.MaxEvents, true, false)
			wantTook(t, began, want)
		}
		// Nobody waits for all that a filter would have to pass.
		result, err := e.Events(ctx, engine.EventsRequest{PageSize: core.MaxEvents, Filter: `key_id="x"`})
		if err != nil {
			t.Fatal(err)
		}
		wantPage(t, &result, nil, core.MaxEvents, false, false)
	})
}

func TestEvents_RefusesWhatIsOutOfBounds(t *testing.T) {
	t.Parallel()
	e := newEngine(t, newFeed(), nil)
	for _, r := range []engine.EventsRequest{
		{PageSize: -1}, {Wait: -1}, {Wait: engine.MaxEventsWait + 1}, {Filter: "x"},
	} {
		_, err := e.Events(t.Context(), r)
		wantReason(t, err, core.BadRequest)
	}
}

// wantTook checks how long something has taken, on the clock of a bubble.
func wantTook(t *testing.T, began time.Time, want time.Duration) {
	t.Helper()
	if took := time.Since(began); took != want {
		t.Errorf("it took %s, want %s", took, want)
	}
}
