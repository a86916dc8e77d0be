package storagetest

import (
	"fmt"
	"slices"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// chain makes four keys, each the successor of the one before, whose ids are a name and 0 to 3. All but the last are in
// a grace period.
func chain(t *harness, s core.Store, name string) {
	t.Helper()
	create(t, s, newKey(home, name+"0"))
	for i := range 3 {
		rotate(t, s, fmt.Sprint(name, i), withGrace(fmt.Sprint(name, i+1)))
	}
}

// wantNamed checks the ids of keys.
func wantNamed(t *harness, keys []core.Key, want ...string) {
	t.Helper()
	var ids []string
	for i := range keys {
		ids = append(ids, keys[i].ID)
	}
	if !slices.Equal(ids, want) {
		t.Errorf("the keys are %v, want %v", ids, want)
	}
}

var lineageTests = []test{
	{"any key of a lineage stands for all of it: each is revoked with an event of its own, in one transaction",
		func(t *harness) {
			s, c := t.controlled()
			for _, lineage := range []string{"a", "b", "c"} {
				chain(t, s, lineage)
			}
			unrelated := create(t, s, newKey(home, "unrelated"))
			for _, named := range []string{"a0", "b2", "c3"} {
				lineage := named[:1]
				before, at := c.Commits(), s.Positions().Applied()
				revoked, err := s.RevokeLineage(t.Context(), home, core.Issued, named, revocation())
				if err != nil {
					t.Fatal(err)
				}
				wantNamed(t, revoked, lineage+"0", lineage+"1", lineage+"2", lineage+"3")
				if n := c.Commits() - before; n != 1 {
					t.Errorf("%d commits", n)
				}
				made := events(t, s, at, 10)
				if len(made) != len(revoked) {
					t.Fatalf("%d events", len(made))
				}
				for i, e := range made {
					wantKey(t, get(t, s, home, revoked[i].ID), revoked[i])
					if e.KeyID != revoked[i].ID || e.Kind != feed.EventRevoked ||
						e.Reason != uint8(revocation().Reason) || revoked[i].Status != core.StatusRevoked {
						t.Errorf("event %+v of %+v", e, revoked[i])
					}
				}
			}
			wantKey(t, get(t, s, home, "unrelated"), unrelated)
		}},
	{"keys that are revoked already stay as they are, and suspended ones are revoked for good", func(t *harness) {
		s := t.store()
		chain(t, s, "")
		first, err := s.Revoke(t.Context(), home, core.Issued, "1", core.Revocation{Time: now})
		if err != nil {
			t.Fatal(err)
		}
		suspend(t, s, "2")
		revoked, err := s.RevokeLineage(t.Context(), home, core.AnyKind, "1", revocation())
		if err != nil {
			t.Fatal(err)
		}
		wantNamed(t, revoked, "0", "2", "3")
		wantKey(t, get(t, s, home, "1"), first)
		if k := get(t, s, home, "2"); k.IsSuspended() || k.Status != core.StatusRevoked {
			t.Errorf("the suspended key became %+v", k)
		}
	}},
	{"it is a failed precondition only where none is left", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "old"))
		rotate(t, s, "old", rotation("new"))
		revoked, err := s.RevokeLineage(t.Context(), home, core.Issued, "old", revocation())
		if err != nil {
			t.Fatal(err)
		}
		wantNamed(t, revoked, "new")
		for _, named := range []string{"old", "new"} {
			_, err := s.RevokeLineage(t.Context(), home, core.Issued, named, revocation())
			wantReason(t, err, core.FailedPrecondition)
		}
	}},
	{"a key that was never rotated, or imported, is a lineage of its own", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "issued"))
		create(t, s, imported(home, "imported"))
		create(t, s, newKey(home, "other"))
		for _, named := range []string{"issued", "imported"} {
			revoked, err := s.RevokeLineage(t.Context(), home, core.AnyKind, named, revocation())
			if err != nil {
				t.Fatal(err)
			}
			wantNamed(t, revoked, named)
		}
		if k := get(t, s, home, "other"); k.Status != core.StatusActive {
			t.Errorf("another key is %+v", k)
		}
	}},
	{"attack 18: a key of another kind or network is not found, and no lineage reaches into another network",
		func(t *harness) {
			s := t.store()
			chain(t, s, "")
			theirs := newKey(other, "1")
			theirs.LineageID = "0"
			theirs = create(t, s, theirs)
			for _, tt := range []struct {
				network core.NetworkID
				kind    core.Kind
				id      string
			}{{home, core.Imported, "1"}, {other, core.AnyKind, "0"}, {home, core.AnyKind, "nobody"}} {
				_, err := s.RevokeLineage(t.Context(), tt.network, tt.kind, tt.id, revocation())
				wantReason(t, err, core.KeyNotFound)
			}
			if _, err := s.RevokeLineage(t.Context(), home, core.Issued, "1", revocation()); err != nil {
				t.Fatal(err)
			}
			wantKey(t, get(t, s, other, "1"), theirs)
		}},
	{"attack 07: when the commit fails, none is revoked", func(t *harness) {
		s, c := t.controlled()
		chain(t, s, "")
		c.FailNextCommit(errInjected)
		if _, err := s.RevokeLineage(t.Context(), home, core.Issued, "2", revocation()); err == nil {
			t.Error("no error")
		}
		for _, keyID := range []string{"0", "1", "2", "3"} {
			if k := get(t, s, home, keyID); k.Status != core.StatusActive {
				t.Errorf("key %s is %+v", keyID, k)
			}
		}
	}},
	{"with the key that another store makes of its last one meanwhile", func(t *harness) {
		a, acts := t.controlled()
		b, c := t.controlled()
		for i := range 20 {
			name := string(rune('a' + i))
			chain(t, a, name)
			release := c.Hold(BeforeCommit)
			rotated, revoked := make(pending, 1), make(pending, 1)
			go func() {
				_, _, err := b.Rotate(t.Context(), home, name+"3", rotation(name+"4"))
				rotated <- err
			}()
			if err := c.Held(t.Context(), BeforeCommit); err != nil {
				t.Fatal(err)
			}
			before := acts.Commits()
			go func() {
				_, err := a.RevokeLineage(t.Context(), home, core.Issued, name+"0", revocation())
				revoked <- err
			}()
			eventually(t, "the revocation is taken up", func() bool {
				return acts.Waiting() == 0 && acts.Commits() == before
			})
			release()
			for _, p := range []pending{rotated, revoked} {
				if err := <-p; err != nil {
					t.Fatal(err)
				}
			}
			if k := get(t, a, home, name+"4"); k.Status != core.StatusRevoked {
				t.Fatalf("round %d: the new key is %+v", i, k)
			}
		}
	}},
}
