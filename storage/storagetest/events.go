package storagetest

import (
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// page reads the feed after a position.
func page(t *harness, s core.Store, after uint64, limit int) feed.Page {
	t.Helper()
	read, err := s.Events(t.Context(), after, limit)
	if err != nil {
		t.Fatalf("events after %d: %v", after, err)
	}
	return read
}

// events are those of a page.
func events(t *harness, s core.Store, after uint64, limit int) []feed.Event {
	t.Helper()
	return page(t, s, after, limit).Events
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
				Position: 1, Network: home, KeyID: "a", KeyKind: uint8(core.Issued), ActorID: a.ActorID,
				Kind: feed.EventCreated, Time: a.CreateTime, Caller: feed.Caller{Kind: feed.CallerSystem},
			},
			{
				Position: 2, Network: other, KeyID: "b", KeyKind: uint8(core.Issued), ActorID: b.ActorID,
				Kind: feed.EventCreated, Time: b.CreateTime, Caller: feed.Caller{Kind: feed.CallerSystem},
			},
			{
				Position: 3, Network: home, KeyID: "a", KeyKind: uint8(core.Issued), ActorID: a.ActorID,
				Kind: feed.EventRevoked, Time: r.Time, Reason: uint8(r.Reason),
				Caller: feed.Caller{Kind: feed.CallerSystem},
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
		for read := events(t, s, 0, 10); len(read) > 0; read = events(t, s, at, 10) {
			if len(read) > 10 {
				t.Fatalf("a page of %d", len(read))
			}
			for _, e := range read {
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
	{"a page tells where the feed begins and ends, and its name stays", func(t *harness) {
		s := t.store()
		name := page(t, s, 0, 1).FeedID
		if len(name) < 16 {
			t.Errorf("the feed is called %q", name)
		}
		create(t, s, newKey(home, "k"))
		for _, after := range []uint64{0, 1, 2, 1 << 63, 1<<64 - 1} {
			read := page(t, s, after, 1)
			if read.Begin != 0 || read.Last != 1 || read.FeedID != name {
				t.Errorf("after %d: %+v", after, read)
			}
			if n := len(read.Events); (n > 0) != (after == 0) {
				t.Errorf("after %d: %d events", after, n)
			}
		}
	}},
	{"an event names who made the change, and by which request", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		by := feed.Caller{Kind: feed.CallerKey, ID: "operator-key", User: "alice", RequestID: "request-1"}
		ctx := core.WithCaller(t.Context(), by)
		if _, err := s.Update(ctx, home, core.AnyKind, "k", rename("name")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Rotate(ctx, home, "k", rotation("l")); err != nil {
			t.Fatal(err)
		}
		for i, e := range events(t, s, 0, 10) {
			if want := by; i > 0 && e.Caller != want {
				t.Errorf("event %d is by %+v", i, e.Caller)
			}
		}
	}},
	{"a rotation is an event of each key, and each names the other", func(t *harness) {
		s := t.store()
		k := newKey(home, "old")
		create(t, s, k)
		if _, _, err := s.Rotate(t.Context(), home, "old", rotation("new")); err != nil {
			t.Fatal(err)
		}
		read := events(t, s, 1, 10)
		if len(read) != 2 {
			t.Fatalf("got %+v", read)
		}
		for i, want := range []feed.Event{
			{KeyID: "new", Kind: feed.EventCreated, Related: "old"},
			{KeyID: "old", Kind: feed.EventRotated, Related: "new", Reason: uint8(core.ReasonSuperseded)},
		} {
			e := read[i]
			if e.KeyID != want.KeyID || e.Kind != want.Kind || e.Related != want.Related || e.Reason != want.Reason ||
				e.ActorID != k.ActorID || e.KeyKind != uint8(core.Issued) {
				t.Errorf("got %+v", e)
			}
		}
	}},
	{"old events are removed up to the first that is young enough, and the newest stays", func(t *harness) {
		s := t.store()
		for i, hours := range []int{9, 8, 3, 7, 2, 1} {
			k := newKey(home, id(i))
			k.CreateTime = now.Add(-time.Duration(hours) * time.Hour)
			create(t, s, k)
		}
		for _, step := range []struct {
			hours  int
			keep   int
			remove int
			begin  uint64
		}{
			{hours: 10, keep: 6},
			{hours: 10, keep: 5, remove: 1, begin: 1},
			{hours: 5, keep: 5, remove: 1, begin: 2}, // that of 7 hours ago lies behind one of 3
			{hours: 5, keep: 5, begin: 2},
			{hours: 0, keep: 5, remove: 3, begin: 5},
			{hours: 0, keep: 0, begin: 5},
		} {
			n, err := s.PruneEvents(t.Context(), now.Add(-time.Duration(step.hours)*time.Hour), step.keep)
			if err != nil || n != step.remove {
				t.Errorf("%+v: %d are removed, %v", step, n, err)
			}
			read := page(t, s, step.begin, 10)
			if read.Begin != step.begin || read.Last != 6 || len(read.Events) != int(6-step.begin) {
				t.Errorf("%+v: got %+v", step, read)
			}
		}
		create(t, s, newKey(home, "next"))
		if read := events(t, s, 6, 10); len(read) != 1 || read[0].Position != 7 {
			t.Errorf("the next event is %+v", read)
		}
	}},
	{"many events are removed in steps", func(t *harness) {
		s := t.store()
		const n = 2500
		keys := make([]core.Key, n)
		for i := range keys {
			keys[i] = newKey(home, id(i))
		}
		for at := 0; at < n; at += 500 {
			if _, err := s.CreateMany(t.Context(), home, keys[at:at+500], 0); err != nil {
				t.Fatal(err)
			}
		}
		removed, err := s.PruneEvents(t.Context(), time.Time{}, 100)
		if err != nil || removed != n-100 {
			t.Errorf("%d are removed, %v", removed, err)
		}
		if read := page(t, s, 0, core.MaxEvents); read.Begin != n-100 || len(read.Events) != 100 {
			t.Errorf("%d events after %d", len(read.Events), read.Begin)
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
			for at, e := range read.Events {
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
