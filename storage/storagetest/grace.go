package storagetest

import (
	"fmt"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// withGrace is a rotation that leaves the old key valid for an hour.
func withGrace(newID string) core.Rotation {
	r := rotation(newID)
	r.Grace = time.Hour
	return r
}

// rotate rotates a key, which must succeed.
func rotate(t *harness, s core.Store, keyID string, r core.Rotation) (fresh, old core.Key) {
	t.Helper()
	fresh, old, err := s.Rotate(t.Context(), home, keyID, r)
	if err != nil {
		t.Fatalf("rotate %s: %v", keyID, err)
	}
	return fresh, old
}

var graceTests = []test{
	{"the old key stays active and expires when the grace period ends; the new one has the old expiry",
		func(t *harness) {
			s, c := t.controlled()
			k := fullKey(home, "old")
			k.Kind = core.Issued
			k = create(t, s, k)
			before, r := c.Commits(), withGrace("new")
			r.Prefix = k.Prefix
			fresh, old := rotate(t, s, "old", r)
			if n := c.Commits() - before; n != 1 {
				t.Errorf("%d commits", n)
			}
			want := k
			want.ID, want.RequestID, want.CreateTime, want.UpdateTime = "new", "", r.Time, r.Time
			want.Sequence, want.PredecessorID, want.LineageID = 0, "old", "old"
			wantKey(t, fresh, want)
			wantKey(t, get(t, s, home, "new"), want)
			want = k
			want.ExpireTime, want.SuccessorID, want.UpdateTime = r.Time.Add(time.Hour), "new", r.Time
			wantKey(t, old, want)
			wantKey(t, get(t, s, home, "old"), want)
		}},
	{"a grace period beyond the old key's own expiry does not extend it", func(t *harness) {
		s := t.store()
		for i, expires := range []time.Duration{30 * time.Minute, time.Hour, 2 * time.Hour} {
			r := withGrace("new " + id(i))
			k := newKey(home, id(i))
			k.ExpireTime = r.Time.Add(expires)
			create(t, s, k)
			fresh, old := rotate(t, s, id(i), r)
			if want := r.Time.Add(min(expires, r.Grace)); !old.ExpireTime.Equal(want) {
				t.Errorf("with %s left, the old key expires at %s, want %s", expires, old.ExpireTime, want)
			}
			if !fresh.ExpireTime.Equal(k.ExpireTime) {
				t.Errorf("with %s left, the new key expires at %s, want %s", expires, fresh.ExpireTime, k.ExpireTime)
			}
		}
	}},
	{"a key that never expires has a successor that never does", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "old"))
		r := withGrace("new")
		fresh, old := rotate(t, s, "old", r)
		if !fresh.ExpireTime.IsZero() || !old.ExpireTime.Equal(r.Time.Add(time.Hour)) {
			t.Errorf("the new key expires at %s, the old one at %s", fresh.ExpireTime, old.ExpireTime)
		}
	}},
	{"the events are those of a rotation, but the old key's has no reason: it is not revoked", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "old"))
		rotate(t, s, "old", withGrace("new"))
		read := events(t, s, 1, 10)
		if len(read) != 2 || read[0].Kind != feed.EventCreated || read[0].Related != "old" ||
			read[1].Kind != feed.EventRotated || read[1].Related != "new" || read[1].Reason != 0 {
			t.Errorf("got %+v", read)
		}
		if at := s.Positions().At(feed.SlotOf(home, "old")); at != 3 {
			t.Errorf("the slot of the old key is at %d: earlier verdicts stay", at)
		}
	}},
	{"a key that has been rotated is not rotated again, and the error names its successor", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "old"))
		rotate(t, s, "old", withGrace("new"))
		for _, r := range []core.Rotation{withGrace("third"), rotation("third")} {
			_, _, err := s.Rotate(t.Context(), home, "old", r)
			wantReason(t, err, core.FailedPrecondition)
			wantText(t, err, "its successor is new")
		}
		wantAbsent(t, s, home, "third")
		if fresh, _ := rotate(t, s, "new", withGrace("third")); fresh.LineageID != "old" ||
			fresh.PredecessorID != "new" {
			t.Errorf("the third key is %+v", fresh)
		}
	}},
	{"the old key is revoked while its grace period runs, and the new one goes on", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "old"))
		fresh, _ := rotate(t, s, "old", withGrace("new"))
		if _, err := s.Revoke(t.Context(), home, core.Issued, "old", revocation()); err != nil {
			t.Fatal(err)
		}
		wantKey(t, get(t, s, home, "new"), fresh)
	}},
	{"the successor is revoked while the grace period runs, and the old key goes on until that ends",
		func(t *harness) {
			s := t.store()
			create(t, s, newKey(home, "old"))
			_, old := rotate(t, s, "old", withGrace("new"))
			if _, err := s.Revoke(t.Context(), home, core.Issued, "new", revocation()); err != nil {
				t.Fatal(err)
			}
			wantKey(t, get(t, s, home, "old"), old)
		}},
	{"of many rotations at once, exactly one wins", func(t *harness) {
		stores := []core.Store{t.store(), t.store()}
		create(t, stores[0], newKey(home, "old"))
		won := ""
		for i, err := range all(16, func(i int) error {
			r := withGrace(id(i))
			if i%4 == 0 {
				r.Grace = 0
			}
			_, _, err := stores[i%2].Rotate(t.Context(), home, "old", r)
			return err
		}) {
			switch {
			case err != nil:
				wantReason(t, err, core.FailedPrecondition)
			case won != "":
				t.Errorf("%s and %s won", won, id(i))
			default:
				won = id(i)
			}
		}
		if old := get(t, stores[1], home, "old"); old.SuccessorID != won || won == "" {
			t.Errorf("%q won, and the successor is %q", won, old.SuccessorID)
		}
	}},
	{"a key in its grace period counts for the quota: without room there is no grace period", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "old"))
		for step, quota := range []int64{1, 2, 0} {
			r := withGrace(fmt.Sprintf("new %d", step))
			r.Quota = quota
			_, _, err := s.Rotate(t.Context(), home, "old", r)
			if step > 0 {
				if err != nil {
					t.Fatalf("with a quota of %d: %v", quota, err)
				}
				break
			}
			wantReason(t, err, core.KeyQuotaExceeded)
			wantAbsent(t, s, home, r.NewKeyID)
		}
		r := rotation("without grace")
		r.Quota = 1
		rotate(t, s, "new 1", r)
	}},
	{"both keys are counted by prefix until they are revoked", func(t *harness) {
		s := t.store()
		create(t, s, prefixed("old", "acme"))
		r := withGrace("new")
		r.Prefix = "other"
		rotate(t, s, "old", r)
		wantPrefixes(t, s, core.PrefixCount{Prefix: "acme", Keys: 1}, core.PrefixCount{Prefix: "other", Keys: 1})
		if _, err := s.RevokeLineage(t.Context(), home, core.Issued, "new", revocation()); err != nil {
			t.Fatal(err)
		}
		wantPrefixes(t, s)
	}},
}
