package storagetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// errInjected is what a disk may answer.
var errInjected = errors.New("injected: the disk failed")

// pending is a call under way.
type pending chan error

// begin starts a call and waits until its change waits in the store's queue, which holds already others.
func begin(t *harness, c Control, others int, call func() error) pending {
	t.Helper()
	p := make(pending, 1)
	go func() { p <- call() }()
	eventually(t, "the change waits", func() bool { return c.Waiting() > others })
	return p
}

// createAs is a call that creates a key.
func createAs(ctx context.Context, s core.Store, k core.Key) func() error {
	return func() error {
		_, _, err := s.Create(ctx, k)
		return err
	}
}

// group begins n creations that wait together. The store must be held.
func group(t *harness, s core.Store, c Control, n int) []pending {
	t.Helper()
	calls := make([]pending, n)
	for i := range calls {
		calls[i] = begin(t, c, i, createAs(t.Context(), s, newKey(home, id(i))))
	}
	return calls
}

// wantAll checks that all calls succeed and that the keys are there.
func wantAll(t *harness, s core.Store, calls []pending) {
	t.Helper()
	for i, p := range calls {
		if err := <-p; err != nil {
			t.Errorf("call %d: %v", i, err)
			continue
		}
		get(t, s, home, id(i))
	}
}

var togetherTests = []test{
	{"64 at once are committed far fewer times than 64", func(t *harness) {
		s, c := t.controlled()
		before := c.Commits()
		release := c.Hold(BeforeTaking)
		defer release()
		calls := group(t, s, c, 64)
		release()
		wantAll(t, s, calls)
		if n := c.Commits() - before; n > 8 {
			t.Errorf("%d commits", n)
		}
	}},
	{"a caller that goes away while its change waits takes it along, and harms no other", func(t *harness) {
		s, c := t.controlled()
		release := c.Hold(BeforeTaking)
		defer release()
		calls := group(t, s, c, 3)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		gone := begin(t, c, 3, createAs(ctx, s, newKey(home, "gone")))
		last := begin(t, c, 4, createAs(t.Context(), s, newKey(home, "last")))
		cancel()
		wantReason(t, <-gone, core.DeadlineExceeded)
		if n := c.Waiting(); n != 4 {
			t.Errorf("%d changes wait", n)
		}
		release()
		wantAll(t, s, calls)
		if err := <-last; err != nil {
			t.Error(err)
		}
		wantAbsent(t, s, home, "gone")
		if n := s.Positions().Applied(); n != 4 {
			t.Errorf("%d changes were made", n)
		}
	}},
	{"a caller that goes away while its change is committed is told so, and the change is made", func(t *harness) {
		s, c := t.controlled()
		release := c.Hold(BeforeTaking)
		defer release()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		calls := group(t, s, c, 3)
		gone := begin(t, c, 3, createAs(ctx, s, newKey(home, "gone")))
		releaseCommit := c.Hold(BeforeCommit)
		defer releaseCommit()
		release()
		if err := c.Held(t.Context(), BeforeCommit); err != nil {
			t.Fatal(err)
		}
		cancel()
		wantReason(t, <-gone, core.DeadlineExceeded)
		releaseCommit()
		wantAll(t, s, calls)
		get(t, s, home, "gone")
	}},
	{"in a group too, a change is applied before it is answered", func(t *harness) {
		s, c := t.controlled()
		const n = 256
		for round := range 4 {
			release := c.Hold(BeforeTaking)
			answers := make(chan error, n)
			for i := range n {
				go func() {
					k := newKey(home, fmt.Sprintf("%d-%d", round, i))
					_, _, err := s.Create(t.Context(), k)
					if s.Positions().At(feed.SlotOf(home, k.ID)) == 0 {
						err = errors.Join(err, errors.New("answered before it was applied"))
					}
					answers <- err
				}()
			}
			eventually(t, "all wait", func() bool { return c.Waiting() == n })
			release()
			for range n {
				if err := <-answers; err != nil {
					t.Error(err)
				}
			}
		}
	}},
	{"nothing is answered or applied before the commit", func(t *harness) {
		s, c := t.controlled()
		release := c.Hold(BeforeCommit)
		defer release()
		call := make(pending, 1)
		go func() { call <- createAs(t.Context(), s, newKey(home, "k"))() }()
		if err := c.Held(t.Context(), BeforeCommit); err != nil {
			t.Fatal(err)
		}
		wantAbsent(t, s, home, "k")
		if s.Positions().Applied() != 0 || len(call) != 0 {
			t.Error("answered or applied too early")
		}
		release()
		if err := <-call; err != nil {
			t.Fatal(err)
		}
	}},
	{"a member that is refused fails alone", func(t *harness) {
		s, c := t.controlled()
		create(t, s, newKey(home, "taken"))
		create(t, s, newKey(home, "revoked"))
		if _, err := s.Revoke(t.Context(), home, core.AnyKind, "revoked", revocation()); err != nil {
			t.Fatal(err)
		}
		before := c.Commits()
		release := c.Hold(BeforeTaking)
		defer release()
		calls := group(t, s, c, 2)
		conflict := begin(t, c, 2, createAs(t.Context(), s, newKey(home, "taken")))
		again := begin(t, c, 3, func() error {
			_, err := s.Revoke(t.Context(), home, core.AnyKind, "revoked", revocation())
			return err
		})
		twice := begin(t, c, 4, createAs(t.Context(), s, newKey(home, id(0)))) // the same id within the group
		calls = append(calls, begin(t, c, 5, createAs(t.Context(), s, newKey(home, id(2)))))
		release()
		wantReason(t, <-conflict, core.Conflict)
		wantReason(t, <-again, core.FailedPrecondition)
		wantReason(t, <-twice, core.Conflict)
		wantAll(t, s, calls)
		if n := c.Commits() - before; n != 1 {
			t.Errorf("%d commits", n)
		}
		if n := s.Positions().Applied(); n != 6 {
			t.Errorf("the position is %d: a change that was refused has one", n)
		}
	}},
	{"a group whose commit fails is tried one by one", func(t *harness) {
		s, c := t.controlled()
		before := c.Commits()
		release := c.Hold(BeforeTaking)
		defer release()
		calls := group(t, s, c, 8)
		c.FailNextCommit(errInjected)
		release()
		wantAll(t, s, calls)
		if n := c.Commits() - before; n != 8 {
			t.Errorf("%d commits", n)
		}
		if n := s.Positions().Applied(); n != 8 {
			t.Errorf("the position is %d", n)
		}
	}},
	{"a caller that goes away may use its slice of keys again", func(t *harness) {
		s, c := t.controlled()
		releaseTaking := c.Hold(BeforeTaking)
		defer releaseTaking()
		calls := group(t, s, c, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		keys := []core.Key{newKey(home, "a"), newKey(home, "b")}
		gone := begin(t, c, 1, func() error {
			_, err := s.CreateMany(ctx, home, keys, 0)
			return err
		})
		releaseCommit := c.Hold(BeforeCommit)
		defer releaseCommit()
		c.FailNextCommit(errInjected) // so that the keys are written once more
		releaseTaking()
		if err := c.Held(t.Context(), BeforeCommit); err != nil {
			t.Fatal(err)
		}
		cancel()
		wantReason(t, <-gone, core.DeadlineExceeded)
		keys[0], keys[1] = newKey(home, "other"), newKey(home, "another")
		releaseCommit()
		wantAll(t, s, calls)
		create(t, s, newKey(home, "last")) // is made after them
		get(t, s, home, "a")
		get(t, s, home, "b")
		wantAbsent(t, s, home, "other")
		wantAbsent(t, s, home, "another")
	}},
	{"attack 07: a change whose commit fails is an error, is not made and raises no position; the next one is made",
		func(t *harness) {
			s, c := t.controlled()
			create(t, s, newKey(home, "k"))
			c.FailNextCommit(errInjected)
			_, err := s.Revoke(t.Context(), home, core.AnyKind, "k", revocation())
			if err == nil {
				t.Fatal("no error")
			}
			if !errors.Is(err, errInjected) {
				t.Errorf("the cause is lost: %v", err)
			}
			if get(t, s, home, "k").Status != core.StatusActive || s.Positions().Applied() != 1 {
				t.Error("the change was made")
			}
			if _, err := s.Revoke(t.Context(), home, core.AnyKind, "k", revocation()); err != nil {
				t.Error(err)
			}
		}},
	{"close commits what was accepted", func(t *harness) {
		s, c := t.controlled()
		release := c.Hold(BeforeTaking)
		defer release()
		calls := group(t, s, c, 16)
		closed := make(pending, 1)
		go func() { closed <- s.Close() }()
		release()
		for i, p := range calls {
			if err := <-p; err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
		s = t.store()
		for i := range calls {
			get(t, s, home, id(i))
		}
	}},
}
