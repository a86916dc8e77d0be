package storagetest

import (
	"fmt"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// rotation inherits all but what a rotation never does.
func rotation(newID string) core.Rotation {
	return core.Rotation{NewKeyID: newID, Time: now.Add(time.Minute)}
}

var rotateTests = []test{
	{"the new key inherits all but the request id; the old one is superseded; in one transaction", func(t *harness) {
		s, c := t.controlled()
		k := fullKey(home, "old")
		k.Kind = core.Issued
		k = create(t, s, k)
		before := c.Commits()
		r := rotation("new")
		r.Prefix = k.Prefix
		fresh, old, err := s.Rotate(t.Context(), home, "old", r)
		if err != nil {
			t.Fatal(err)
		}
		if n := c.Commits() - before; n != 1 {
			t.Errorf("%d commits", n)
		}
		want := k
		want.ID, want.RequestID, want.CreateTime, want.UpdateTime = "new", "", r.Time, r.Time
		want.Sequence, want.PredecessorID, want.LineageID = 0, "old", "old"
		wantKey(t, fresh, want)
		wantKey(t, get(t, s, home, "new"), want)
		want = k
		want.Status, want.RevocationReason, want.UpdateTime = core.StatusRevoked, core.ReasonSuperseded, r.Time
		want.SuccessorID = "new"
		wantKey(t, old, want)
		wantKey(t, get(t, s, home, "old"), want)
		p := s.Positions()
		if p.Changed(feed.EventCreated) != 2 || p.Changed(feed.EventRotated) != 1 || p.Applied() != 3 {
			t.Errorf("%d created, %d rotated, position %d",
				p.Changed(feed.EventCreated), p.Changed(feed.EventRotated), p.Applied())
		}
	}},
	{"what the rotation names overrides, and what it names and is empty is cleared", func(t *harness) {
		s := t.store()
		k := fullKey(home, "old")
		k.Kind = core.Issued
		create(t, s, k)
		r := rotation("new")
		r.Patch = clearing()
		r.Name, r.Visibility = new("renamed"), new(core.VisibilitySecret)
		fresh, old, err := s.Rotate(t.Context(), home, "old", r)
		if err != nil {
			t.Fatal(err)
		}
		want := newKey(home, "new")
		want.Name, want.ActorID, want.ExpireTime = "renamed", k.ActorID, k.ExpireTime
		want.CreateTime, want.UpdateTime = r.Time, r.Time
		want.Sequence, want.PredecessorID, want.LineageID = 0, "old", "old"
		wantKey(t, fresh, want)
		if old.Name != k.Name || len(old.Scopes) != len(k.Scopes) || old.Visibility != k.Visibility {
			t.Errorf("the old key became %+v", old)
		}
	}},
	{"a revoked or expired key is a failed precondition, and no key is made", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "revoked"))
		if _, err := s.Revoke(t.Context(), home, core.Issued, "revoked", revocation()); err != nil {
			t.Fatal(err)
		}
		expired := newKey(home, "expired")
		expired.ExpireTime = rotation("").Time
		create(t, s, expired)
		at := s.Positions().Applied()
		for _, id := range []string{"revoked", "expired"} {
			_, _, err := s.Rotate(t.Context(), home, id, rotation("new"))
			wantReason(t, err, core.FailedPrecondition)
		}
		wantAbsent(t, s, home, "new")
		if n := s.Positions().Applied(); n != at {
			t.Errorf("the position rose from %d to %d for nothing", at, n)
		}
	}},
	{"attack 18: an imported key, one of another network and none at all are not found", func(t *harness) {
		s := t.store()
		create(t, s, imported(home, "imported"))
		create(t, s, newKey(other, "theirs"))
		for _, id := range []string{"imported", "theirs", "nobody"} {
			_, _, err := s.Rotate(t.Context(), home, id, rotation("new"))
			wantReason(t, err, core.KeyNotFound)
		}
		wantAbsent(t, s, home, "new")
	}},
	{"a new id that is taken is a conflict, and the old key stays active", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "taken"))
		k := create(t, s, newKey(home, "k"))
		_, _, err := s.Rotate(t.Context(), home, "k", rotation("taken"))
		wantReason(t, err, core.Conflict)
		wantKey(t, get(t, s, home, "k"), k)
		if n := s.Positions().Applied(); n != 2 {
			t.Errorf("the position is %d", n)
		}
	}},
	{"attack 07: when the commit fails, the old key is the one that counts", func(t *harness) {
		s, c := t.controlled()
		k := create(t, s, newKey(home, "k"))
		c.FailNextCommit(errInjected)
		if _, _, err := s.Rotate(t.Context(), home, "k", rotation("new")); err == nil {
			t.Error("no error")
		}
		wantKey(t, get(t, s, home, "k"), k)
		wantAbsent(t, s, home, "new")
	}},
	{"of many rotations and revocations at once, through two stores, exactly one wins", func(t *harness) {
		stores := []core.Store{t.store(), t.store()}
		for round := range 8 {
			old := fmt.Sprintf("old %d", round)
			create(t, stores[0], newKey(home, old))
			rotated, revoked := 0, 0
			var won string
			for i, err := range all(16, func(i int) error {
				var err error
				if i%4 < 2 {
					_, _, err = stores[i%2].Rotate(t.Context(), home, old, rotation(fmt.Sprintf("%d %d", round, i)))
				} else {
					_, err = stores[i%2].Revoke(t.Context(), home, core.AnyKind, old, revocation())
				}
				return err
			}) {
				switch {
				case err != nil:
					wantReason(t, err, core.FailedPrecondition)
				case i%4 < 2:
					rotated++
					won = fmt.Sprintf("%d %d", round, i)
				default:
					revoked++
				}
			}
			if rotated+revoked != 1 {
				t.Errorf("%d rotations and %d revocations won", rotated, revoked)
			}
			active, err := stores[0].List(t.Context(), core.ListQuery{
				Network: home, Kind: core.Issued, Status: core.StatusActive, Now: now, Limit: 100,
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(active.Keys) != rotated {
				t.Fatalf("%d keys are active, want %d", len(active.Keys), rotated)
			}
			if rotated == 1 { // out of the way of the next round
				if active.Keys[0].ID != won {
					t.Errorf("%s is active, want %s", active.Keys[0].ID, won)
				}
				if _, err := stores[0].Revoke(t.Context(), home, core.AnyKind, won, revocation()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}},
	{"a rotation loses no update that was made before it", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		made := make([]bool, 16)
		var fresh core.Key
		for i, err := range all(len(made), func(i int) (err error) {
			if i == 7 {
				fresh, _, err = s.Rotate(t.Context(), home, "k", rotation("new"))
				return err
			}
			_, err = s.Update(t.Context(), home, core.AnyKind, "k", rename(id(i)))
			return err
		}) {
			if made[i] = err == nil; !made[i] {
				wantReason(t, err, core.FailedPrecondition)
			}
		}
		if old := get(t, s, home, "k"); !made[7] || fresh.Name != old.Name {
			t.Errorf("the new key is named %q, the old one %q", fresh.Name, old.Name)
		}
	}},
}
