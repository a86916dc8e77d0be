package storagetest

import (
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

var twoStoreTests = []test{
	{"each sees what the other changes, and its position rises", func(t *harness) {
		a, b := t.store(), t.store()
		create(t, a, newKey(home, "k"))
		get(t, b, home, "k") // at once: it is one database
		eventually(t, "b applies the creation", func() bool { return b.Positions().Applied() == 1 })
		if _, err := b.Revoke(t.Context(), home, core.AnyKind, "k", revocation()); err != nil {
			t.Fatal(err)
		}
		if get(t, a, home, "k").Status != core.StatusRevoked {
			t.Error("a sees the key active")
		}
		eventually(t, "a applies the revocation", func() bool { return a.Positions().Applied() == 2 })
		if at := a.Positions().At(feed.SlotOf(home, "k")); at != 2 {
			t.Errorf("the slot is at %d", at)
		}
	}},
	{"a store that begins later begins at the end of the feed", func(t *harness) {
		a := t.store()
		create(t, a, newKey(home, "k"))
		b := t.store()
		if p := b.Positions(); p.Applied() != 1 || p.At(feed.SlotOf(home, "k")) != 0 {
			t.Errorf("at %d, slot at %d", p.Applied(), p.At(feed.SlotOf(home, "k")))
		}
	}},
	{"no change is passed over when both change at once", func(t *harness) {
		stores := []core.Store{t.store(), t.store()}
		const n = 200
		for i, err := range all(2*n, func(i int) error {
			s := stores[i%2]
			if _, _, err := s.Create(t.Context(), newKey(home, id(i))); err != nil {
				return err
			}
			if s.Positions().At(feed.SlotOf(home, id(i))) == 0 {
				t.Errorf("the slot of %s was not raised before the answer", id(i))
			}
			return nil
		}) {
			if err != nil {
				t.Fatalf("create %d: %v", i, err)
			}
		}
		for _, s := range stores {
			p := s.Positions()
			eventually(t, "all changes are applied", func() bool { return p.Applied() == 2*n })
			if got := p.Changed(feed.EventCreated); got != 2*n {
				t.Errorf("%d of %d changes were taken in", got, 2*n)
			}
			for i := range 2 * n {
				if p.At(feed.SlotOf(home, id(i))) == 0 {
					t.Errorf("the slot of %s was never raised", id(i))
				}
			}
		}
	}},
	{"attack 05: what one acknowledged, the other has applied once it says that it is complete", func(t *harness) {
		a, b := t.store(), t.store()
		for i := range 100 {
			create(t, a, newKey(home, id(i)))
			acknowledged := time.Now().UnixNano()
			p := b.Positions()
			eventually(t, "b is complete", func() bool { return p.CompleteAt() > acknowledged })
			if p.At(feed.SlotOf(home, id(i))) == 0 {
				t.Fatalf("change %d is missing", i)
			}
		}
	}},
	{"of revocations through both at once, exactly one wins", func(t *harness) {
		stores := []core.Store{t.store(), t.store()}
		create(t, stores[0], newKey(home, "race"))
		won := 0
		for _, err := range all(16, func(i int) error {
			_, err := stores[i%2].Revoke(t.Context(), home, core.AnyKind, "race", revocation())
			return err
		}) {
			if err == nil {
				won++
				continue
			}
			wantReason(t, err, core.FailedPrecondition)
		}
		if won != 1 {
			t.Errorf("%d won", won)
		}
	}},
	{"of creations with one request id through both at once, one key comes", func(t *harness) {
		stores := []core.Store{t.store(), t.store()}
		const n = 16
		answers := make([]core.Key, n)
		for i, err := range all(n, func(i int) (err error) {
			k := newKey(home, id(i))
			k.RequestID = "race"
			answers[i], _, err = stores[i%2].Create(t.Context(), k)
			return err
		}) {
			if err != nil {
				t.Errorf("create %d: %v", i, err)
			}
		}
		for i := range answers {
			wantKey(t, answers[i], answers[0])
		}
	}},
	{"of two that claim different secrets at once, one is refused", func(t *harness) {
		stores := []core.Store{t.store(), t.store()}
		errs := all(2, func(i int) error {
			return stores[i].ClaimSecret(t.Context(), home, []string{id(i)})
		})
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("both answered %v and %v", errs[0], errs[1])
		}
		for _, err := range errs {
			if err != nil {
				wantReason(t, err, core.FailedPrecondition)
			}
		}
	}},
	{"one that closes leaves the other working", func(t *harness) {
		a, b := t.store(), t.store()
		create(t, a, newKey(home, "a"))
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		create(t, b, newKey(home, "b"))
		get(t, b, home, "a")
		get(t, b, home, "b")
		c := t.store()
		create(t, c, newKey(home, "c"))
		eventually(t, "b applies it", func() bool { return b.Positions().Applied() == 3 })
	}},
}
