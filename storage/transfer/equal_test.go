package transfer_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// content is all that a store says of what it holds.
type content struct {
	keys     map[core.NetworkID][]core.Key // by sequence
	expiring map[core.NetworkID][]core.Key
	prefixes map[core.NetworkID][]core.PrefixCount
	events   []feed.Event
	feedID   string
}

func contentOf(t *testing.T, s core.Store) *content {
	t.Helper()
	c := &content{
		keys: map[core.NetworkID][]core.Key{}, expiring: map[core.NetworkID][]core.Key{},
		prefixes: map[core.NetworkID][]core.PrefixCount{},
	}
	for _, n := range networks {
		for _, kind := range []core.Kind{core.Issued, core.Imported} {
			c.keys[n] = append(c.keys[n], listed(t, s, core.ListQuery{Network: n, Kind: kind})...)
		}
		var err error
		c.expiring[n], err = s.Expiring(t.Context(), core.ExpiryQuery{
			Network: n, From: start, Before: start.Add(1000 * time.Hour), Limit: 10_000,
		})
		must(t, err)
		c.prefixes[n], err = s.Prefixes(t.Context(), n)
		must(t, err)
	}
	for after, more := uint64(0), true; more; {
		page, err := s.Events(t.Context(), after, core.MaxEvents)
		must(t, err)
		c.events, c.feedID = append(c.events, page.Events...), page.FeedID
		if more = len(page.Events) > 0; more {
			after = page.Events[len(page.Events)-1].Position
		}
	}
	return c
}

// listed are all keys of a list, in pages of 7.
func listed(t *testing.T, s core.Store, q core.ListQuery) (keys []core.Key) {
	t.Helper()
	q.Limit = 7
	for {
		page, err := s.List(t.Context(), q)
		must(t, err)
		keys = append(keys, page.Keys...)
		if q.After = page.Next; q.After == 0 {
			return keys
		}
	}
}

// wantCopy checks that a store holds what another one held when it was copied, and continues its feed as another one.
func wantCopy(t *testing.T, got core.Store, want *content) {
	t.Helper()
	c := contentOf(t, got)
	for _, n := range networks {
		wantSame(t, "keys", c.keys[n], want.keys[n])
		wantSame(t, "expiring keys", c.expiring[n], want.expiring[n])
		wantSame(t, "prefixes", c.prefixes[n], want.prefixes[n])
	}
	if len(c.events) == 0 {
		t.Fatal("it has no events")
	}
	last := c.events[len(c.events)-1]
	wantSame(t, "events", c.events[:len(c.events)-1], want.events)
	if last.Kind != feed.EventRestored {
		t.Errorf("its last event is %+v, and not EventRestored", last)
	}
	if c.feedID == want.feedID {
		t.Error("its feed has the name of the source's")
	}
	now := uint64(time.Now().UnixMicro())
	if last.Position > now || last.Position < now-uint64(time.Hour/time.Microsecond) {
		t.Errorf("its feed continues at %d, which is no position from the clock", last.Position)
	}
}

func wantSame[T any](t *testing.T, what string, got, want []T) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("it has %d %s, want %d", len(got), what, len(want))
		return
	}
	differs := func(i int) bool { return !reflect.DeepEqual(got[i], want[i]) }
	for i := range got {
		if differs(i) {
			t.Errorf("%s: %+v, want %+v", what, got[i], want[i])
			return
		}
	}
}
