package storagetest

import (
	"errors"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// recordUse writes a use of each key at a moment.
func recordUse(t *harness, s core.Store, at time.Time, ids ...string) {
	t.Helper()
	var uses []core.Use
	for _, id := range ids {
		uses = append(uses, core.Use{Network: home, KeyID: id, Time: at})
	}
	if err := s.RecordUse(t.Context(), uses); err != nil {
		t.Fatalf("record use: %v", err)
	}
}

func wantUsed(t *harness, s core.Store, id string, want time.Time) {
	t.Helper()
	if got := get(t, s, home, id).LastUsedTime; !got.Equal(want) {
		t.Errorf("%s was last used at %v, want %v", id, got, want)
	}
}

var useTests = []test{
	{"a key that was never used has no time, and one that was has its last", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "a"))
		create(t, s, imported(home, "b"))
		wantUsed(t, s, "a", time.Time{})
		recordUse(t, s, now, "a", "b")
		wantUsed(t, s, "a", now)
		wantUsed(t, s, "b", now)
	}},
	{"it never goes back, and advances by a minute or more", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		for _, step := range []struct{ at, want time.Duration }{
			{0, 0},
			{-time.Hour, 0},
			{time.Minute - time.Microsecond, 0},
			{time.Minute, time.Minute},
			{0, time.Minute},
			{time.Hour, time.Hour},
		} {
			recordUse(t, s, now.Add(step.at), "k")
			wantUsed(t, s, "k", now.Add(step.want))
		}
	}},
	{"it is no change: nothing else of the key, no event and no position is another one", func(t *harness) {
		s := t.store()
		want := create(t, s, fullKey(home, "k"))
		recordUse(t, s, now, "k")
		want.LastUsedTime = now
		wantKey(t, get(t, s, home, "k"), want)
		if read := events(t, s, 0, 10); len(read) != 1 || s.Positions().Applied() != 1 {
			t.Errorf("at %d with the events %+v", s.Positions().Applied(), read)
		}
	}},
	{"attack 18: a use counts for the key of its network, and one that is not there is passed over", func(t *harness) {
		s := t.store()
		create(t, s, newKey(other, "k"))
		create(t, s, newKey(home, "l"))
		recordUse(t, s, now, "k", "l")
		if got := get(t, s, other, "k").LastUsedTime; !got.IsZero() {
			t.Errorf("a key of another network was used at %v", got)
		}
		wantUsed(t, s, "l", now)
	}},
	{"other changes of the key keep it, and the key that replaces it was never used", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		recordUse(t, s, now, "k")
		name := "another"
		_, err := s.Update(t.Context(), home, core.AnyKind, "k", core.Update{Patch: core.Patch{Name: &name}, Time: now})
		if err != nil {
			t.Fatal(err)
		}
		wantUsed(t, s, "k", now)
		fresh, old, err := s.Rotate(t.Context(), home, "k", core.Rotation{NewKeyID: "new", Time: now})
		if err != nil {
			t.Fatal(err)
		}
		if !fresh.LastUsedTime.IsZero() || !old.LastUsedTime.Equal(now) {
			t.Errorf("the new key was used at %v and the old one at %v", fresh.LastUsedTime, old.LastUsedTime)
		}
		recordUse(t, s, now.Add(time.Hour), "k")
		wantUsed(t, s, "k", now.Add(time.Hour)) // it was valid at that time, as far as the one who says so knew
	}},
	{"a list can be of the keys that were not used since a moment, or never", func(t *harness) {
		s := t.store()
		for _, id := range []string{"never", "before", "at", "after"} {
			k := newKey(home, id)
			if id == "at" {
				k.ActorID = "another"
			}
			create(t, s, k)
		}
		recordUse(t, s, now.Add(-time.Microsecond), "before")
		recordUse(t, s, now, "at")
		recordUse(t, s, now.Add(time.Microsecond), "after")
		if _, err := s.Revoke(t.Context(), home, core.AnyKind, "before", revocation()); err != nil {
			t.Fatal(err)
		}
		list := func(actor string, status core.Status, since time.Time, want ...string) {
			t.Helper()
			q := issuedList(1)
			q.ActorID, q.Status, q.UsedBefore = actor, status, since
			wantIDs(t, pages(t, s, q, nothing), want...)
		}
		later := now.Add(time.Hour)
		list("", core.StatusUnknown, now, "never", "before")
		list("", core.StatusUnknown, now.Add(time.Microsecond), "never", "before", "at")
		list("", core.StatusActive, later, "never", "at", "after")
		list("", core.StatusRevoked, later, "before")
		list("", core.StatusExpired, later)
		list("another", core.StatusUnknown, now)
		list("another", core.StatusActive, later, "at")
	}},
	{"many are written in steps, between which changes are made", func(t *harness) {
		s, control := t.controlled()
		const n = 1000
		var ids []string
		var keys []core.Key
		for i := range n {
			ids, keys = append(ids, id(i)), append(keys, newKey(home, id(i)))
		}
		if _, err := s.CreateMany(t.Context(), home, keys, 0); err != nil {
			t.Fatal(err)
		}
		before := control.Commits()
		recordUse(t, s, now, ids...)
		if steps := control.Commits() - before; steps < 2 {
			t.Errorf("%d uses were written in %d steps", n, steps)
		}
		q := issuedList(n)
		q.UsedBefore = now
		if left := pages(t, s, q, nothing); len(left) != 0 {
			t.Errorf("%d keys are as if unused: %v", len(left), slices.Sorted(slices.Values(left)))
		}
	}},
	{"what fails changes nothing and can be repeated", func(t *harness) {
		s, control := t.controlled()
		create(t, s, newKey(home, "k"))
		uses := []core.Use{{Network: home, KeyID: "k", Time: now}}
		control.FailNextCommit(errors.New("the disk is full"))
		if err := s.RecordUse(t.Context(), uses); err == nil {
			t.Error("a use that was not committed is no error")
		}
		wantUsed(t, s, "k", time.Time{})
		recordUse(t, s, now, "k")
		wantUsed(t, s, "k", now)
	}},
	{"a store that was closed writes none", func(t *harness) {
		s := t.store()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		wantReason(t, s.RecordUse(t.Context(), []core.Use{{KeyID: "k", Time: now}}), core.Unavailable)
	}},
	{"none at all is no error", func(t *harness) { recordUse(t, t.store(), now) }},
}
