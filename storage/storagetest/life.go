package storagetest

import (
	"context"
	"errors"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

var positionTests = []test{
	{"begin at 0, and rise by one with each change", func(t *harness) {
		s := t.store()
		p := s.Positions()
		if got := p.Applied(); got != 0 {
			t.Fatalf("an empty database is at %d", got)
		}
		create(t, s, newKey(home, "a"))
		create(t, s, newKey(home, "b"))
		if _, err := s.Revoke(t.Context(), home, core.AnyKind, "a", revocation()); err != nil {
			t.Fatal(err)
		}
		if got := p.Applied(); got != 3 {
			t.Errorf("after three changes: %d", got)
		}
		if c, r := p.Changed(feed.EventCreated), p.Changed(feed.EventRevoked); c != 2 || r != 1 {
			t.Errorf("%d created and %d revoked", c, r)
		}
	}},
	{"a change is applied before it is answered", func(t *harness) {
		s := t.store()
		for i, err := range all(64, func(i int) error {
			before := s.Positions().Applied()
			if _, _, err := s.Create(t.Context(), newKey(home, id(i))); err != nil {
				return err
			}
			if at := s.Positions().At(feed.SlotOf(home, id(i))); at <= before {
				return errors.New("the slot is not above the position before the change")
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("key %d: %v", i, err)
			}
		}
	}},
	{"attack 05: a look-up that began before an acknowledged revocation is older than it", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		began := s.Positions().Applied()
		if k := get(t, s, home, "k"); k.Status != core.StatusActive {
			t.Fatalf("status is %d", k.Status)
		}
		if _, err := s.Revoke(t.Context(), home, core.AnyKind, "k", revocation()); err != nil {
			t.Fatal(err)
		}
		if at := s.Positions().At(feed.SlotOf(home, "k")); at <= began {
			t.Errorf("the slot is at %d and the look-up at %d: it would be believed", at, began)
		}
	}},
	{"attack 06: a key just created is newer than the look-up that missed it", func(t *harness) {
		s := t.store()
		began := s.Positions().Applied()
		wantAbsent(t, s, home, "k")
		create(t, s, newKey(home, "k"))
		if at := s.Positions().At(feed.SlotOf(home, "k")); at <= began {
			t.Errorf("the slot is at %d and the look-up at %d: it would be believed", at, began)
		}
	}},
	{"whoever sees a position sees its change", func(t *harness) {
		s := t.store()
		stop := make(chan struct{})
		failed := make(chan error, 1)
		go func() {
			defer close(failed)
			for i := range 300 {
				if _, _, err := s.Create(t.Context(), newKey(home, id(i))); err != nil {
					failed <- err
					break
				}
			}
			close(stop)
		}()
		for seen := uint64(0); ; {
			applied := s.Positions().Applied()
			if applied > seen {
				seen = applied
				get(t, s, home, id(int(applied-1)))
			}
			select {
			case <-stop:
				if err := <-failed; err != nil {
					t.Error(err)
				}
				return
			default:
			}
		}
	}},
	{"a request may rely on them, and waits for that at most until they are renewed", func(t *harness) {
		p := t.store().Positions()
		for range 100 {
			began := time.Now()
			if err := p.Await(t.Context(), began.Sub(feed.Epoch), began.UnixNano()); err != nil {
				t.Fatal(err)
			}
		}
	}},
	{"the moment at which they were complete goes on", func(t *harness) {
		p := t.store().Positions()
		first := p.CompleteAt()
		if since := time.Since(time.Unix(0, first)); since < 0 {
			t.Errorf("complete at a moment that lies %v ahead", -since)
		}
		eventually(t, "a later moment", func() bool { return p.CompleteAt() > first })
	}},
}

var lifeTests = []test{
	{"what was acknowledged is there after reopening, and positions go on", func(t *harness) {
		s, err := t.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a := create(t, s, fullKey(home, "a"))
		create(t, s, newKey(home, "b"))
		b, err := s.Revoke(t.Context(), home, core.AnyKind, "b", revocation())
		if err != nil {
			t.Fatal(err)
		}
		claim(t, s, home, "secret")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}

		s = t.store()
		wantKey(t, get(t, s, home, "a"), a)
		wantKey(t, get(t, s, home, "b"), b)
		wantReason(t, s.ClaimSecret(t.Context(), home, []string{"lost"}), core.FailedPrecondition)
		p := s.Positions()
		if p.Applied() != 3 || p.Changed(feed.EventCreated) != 0 {
			t.Errorf("reopened at %d with %d changes", p.Applied(), p.Changed(feed.EventCreated))
		}
		create(t, s, newKey(home, "c"))
		if p.Applied() != 4 {
			t.Errorf("the next change is at %d", p.Applied())
		}
	}},
	{"ping answers", func(t *harness) {
		if err := t.store().Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}},
	{"a call whose context is over is too late, and changes nothing", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		for name, err := range calls(ended(t), s) {
			if got := core.ReasonOf(err); err == nil || got != core.DeadlineExceeded {
				t.Errorf("%s: %v", name, err)
			}
		}
		wantAbsent(t, s, home, "new")
		if get(t, s, home, "k").Status != core.StatusActive {
			t.Error("the key was revoked")
		}
		claim(t, s, home, "another")
	}},
	{"after close, every call is unavailable, and close does nothing", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for name, err := range calls(t.Context(), s) {
			if got := core.ReasonOf(err); err == nil || got != core.Unavailable {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		if s.Positions().Applied() != 1 {
			t.Error("the positions are gone")
		}
	}},
	{"close while calls come: each is answered, rightly or as unavailable", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		const n = 64
		begun := make(chan struct{}, n+1)
		closed := make(chan error, 1)
		go func() {
			<-begun
			closed <- s.Close()
		}()
		made := make([]bool, n)
		for i, err := range all(n, func(i int) error {
			begun <- struct{}{}
			if i%2 == 0 {
				_, err := s.Get(t.Context(), home, "k")
				return err
			}
			_, _, err := s.Create(t.Context(), newKey(home, id(i)))
			made[i] = err == nil
			return err
		}) {
			if err != nil && core.ReasonOf(err) != core.Unavailable {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
		s = t.store()
		for i := range n {
			if made[i] {
				get(t, s, home, id(i))
			} else {
				wantAbsent(t, s, home, id(i))
			}
		}
	}},
	{"look-ups that are broken off at any moment harm no other", func(t *harness) {
		s := t.store()
		want := create(t, s, fullKey(home, "k"))
		for i, err := range all(16, func(i int) error {
			for j := range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*j)*time.Microsecond)
				k, err := s.Get(ctx, home, "k")
				cancel()
				if err != nil && core.ReasonOf(err) != core.DeadlineExceeded {
					return err
				}
				if err == nil && k.ID != want.ID {
					return errors.New("another key came")
				}
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("goroutine %d: %v", i, err)
			}
		}
		for range 32 {
			wantKey(t, get(t, s, home, "k"), want)
		}
	}},
}

// calls makes every call that can fail, once. It asks to create "new" and to revoke "k".
func calls(ctx context.Context, s core.Store) map[string]error {
	errs := make(map[string]error)
	_, errs["get"] = s.Get(ctx, home, "k")
	_, errs["get many"] = s.GetMany(ctx, home, []string{"k"})
	_, _, errs["create"] = s.Create(ctx, newKey(home, "new"))
	_, errs["revoke"] = s.Revoke(ctx, home, core.AnyKind, "k", revocation())
	_, errs["create many"] = s.CreateMany(ctx, home, []core.Key{newKey(home, "l")}, 0)
	_, errs["prefixes"] = s.Prefixes(ctx, home)
	_, errs["list"] = s.List(ctx, issuedList(1))
	_, errs["update"] = s.Update(ctx, home, core.AnyKind, "k", rename("x"))
	_, _, errs["rotate"] = s.Rotate(ctx, home, "k", rotation("new"))
	errs["delete"] = s.Delete(ctx, home, "k", deletion())
	errs["claim"] = s.ClaimSecret(ctx, home, []string{"x"})
	_, errs["claim reader"] = s.ClaimReader(ctx, claimBy("x", time.Minute))
	_, errs["expiring"] = s.Expiring(ctx, core.ExpiryQuery{Limit: 1})
	errs["ping"] = s.Ping(ctx)
	return errs
}
