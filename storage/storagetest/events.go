package storagetest

import (
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// events reads the feed after a position.
func events(t *harness, s core.Store, after uint64, limit int) []feed.Event {
	t.Helper()
	read, err := s.Events(t.Context(), after, limit)
	if err != nil {
		t.Fatalf("events after %d: %v", after, err)
	}
	return read
}

var eventTests = []test{
	{"a feed without a change is empty", func(t *harness) {
		if read := events(t, t.store(), 0, core.MaxEvents); len(read) != 0 {
			t.Errorf("got %+v", read)
		}
	}},
	{"each change of every network is an event, in order", func(t *harness) {
		s := t.store()
		a, b, r := newKey(home, "a"), newKey(other, "b"), revocation()
		create(t, s, a)
		create(t, s, b)
		if _, err := s.Revoke(t.Context(), home, core.AnyKind, "a", r); err != nil {
			t.Fatal(err)
		}
		read := events(t, s, 0, core.MaxEvents)
		want := []feed.Event{
			{
				Position: 1, Network: home, KeyID: "a", Kind: feed.EventCreated, Time: a.CreateTime,
				Actor: core.ByOperator,
			},
			{
				Position: 2, Network: other, KeyID: "b", Kind: feed.EventCreated, Time: b.CreateTime,
				Actor: core.ByOperator,
			},
			{
				Position: 3, Network: home, KeyID: "a", Kind: feed.EventRevoked, Time: r.Time, Actor: r.By,
				Reason: uint8(r.Reason),
			},
		}
		if len(read) != len(want) {
			t.Fatalf("got %+v", read)
		}
		for i, e := range read {
			if !e.Time.Equal(want[i].Time) {
				t.Errorf("event %d is of %s, want %s", i, e.Time, want[i].Time)
			}
			if e.Time = want[i].Time; e != want[i] {
				t.Errorf("event %d is %+v, want %+v", i, e, want[i])
			}
		}
	}},
	{"a page holds as many events as asked for and goes on after the last", func(t *harness) {
		s := t.store()
		const n = 25
		for i := range n {
			create(t, s, newKey(home, id(i)))
		}
		var at uint64
		for page := events(t, s, 0, 10); len(page) > 0; page = events(t, s, at, 10) {
			if len(page) > 10 {
				t.Fatalf("a page of %d", len(page))
			}
			for _, e := range page {
				if at++; e.Position != at || e.KeyID != id(int(at)-1) {
					t.Fatalf("event %d is %+v", at, e)
				}
			}
		}
		if at != n {
			t.Errorf("%d of %d events", at, n)
		}
	}},
	{"a limit that is out of bounds is refused", func(t *harness) {
		s := t.store()
		for _, limit := range []int{-1, 0, core.MaxEvents + 1} {
			_, err := s.Events(t.Context(), 0, limit)
			wantReason(t, err, core.Internal)
		}
	}},
	{"a position beyond the last is of another feed", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		if read := events(t, s, 1, 1); len(read) != 0 {
			t.Errorf("after the last: %+v", read)
		}
		for _, after := range []uint64{2, 1 << 63, 1<<64 - 1} {
			_, err := s.Events(t.Context(), after, 1)
			wantReason(t, err, core.FailedPrecondition)
		}
	}},
	{"a change that failed leaves no gap", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		if _, _, err := s.Create(t.Context(), newKey(home, "k")); err == nil {
			t.Fatal("a key id was taken twice")
		}
		create(t, s, newKey(home, "l"))
		if read := events(t, s, 1, 10); len(read) != 1 || read[0].Position != 2 {
			t.Errorf("got %+v", read)
		}
	}},
	{"what was acknowledged is there, without a gap, while others write", func(t *harness) {
		s := t.store()
		const n = 200
		for i, err := range all(n, func(i int) error {
			if _, _, err := s.Create(t.Context(), newKey(home, id(i))); err != nil {
				return err
			}
			read, err := s.Events(t.Context(), 0, core.MaxEvents)
			found := false
			for at, e := range read {
				found = found || e.KeyID == id(i)
				if e.Position != uint64(at)+1 {
					t.Errorf("event %d is at position %d", at, e.Position)
				}
			}
			if !found {
				t.Errorf("the acknowledged creation of %s is not in the feed", id(i))
			}
			return err
		}) {
			if err != nil {
				t.Fatalf("create %d: %v", i, err)
			}
		}
	}},
	{"the feed outlives the store", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if read := events(t, t.store(), 0, 1); len(read) != 1 || read[0].KeyID != "k" {
			t.Errorf("got %+v", read)
		}
	}},
	{"a store that was closed has no events", func(t *harness) {
		s := t.store()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_, err := s.Events(t.Context(), 0, 1)
		wantReason(t, err, core.Unavailable)
	}},
}
