package storagetest

import (
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// claimBy is the claim of a process on the one reader of a test.
func claimBy(owner string, lease time.Duration) core.ReaderClaim {
	return core.ReaderClaim{Name: "reader", Owner: owner, Lease: lease}
}

// claimed is what a claim returns that must succeed.
func claimed(t *harness, s core.Store, owner string, lease time.Duration) core.FeedReader {
	t.Helper()
	at, err := s.ClaimReader(t.Context(), claimBy(owner, lease))
	if err != nil {
		t.Fatalf("claim by %s: %v", owner, err)
	}
	return at
}

var feedReaderTests = []test{
	{"a new reader begins at the end of the feed and at the present", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "a"))
		create(t, s, newKey(other, "b"))
		began := time.Now().Add(-time.Millisecond)
		at := claimed(t, s, "one", time.Minute)
		if at.Position != 2 {
			t.Errorf("it begins at %d, want 2", at.Position)
		}
		if at.NoticesUntil.Before(began) || at.NoticesUntil.After(time.Now()) {
			t.Errorf("it begins at %s", at.NoticesUntil)
		}
	}},
	{"a claim is no event", func(t *harness) {
		s := t.store()
		claimed(t, s, "one", time.Minute)
		if read := events(t, s, 0, 1); len(read) != 0 {
			t.Errorf("got %+v", read)
		}
	}},
	{"one process at a time owns a name, and may claim it again", func(t *harness) {
		s, second := t.store(), t.store()
		claimed(t, s, "one", time.Minute)
		_, err := second.ClaimReader(t.Context(), claimBy("two", time.Minute))
		wantReason(t, err, core.Conflict)
		claimed(t, s, "one", time.Minute)
		if _, err := second.ClaimReader(t.Context(), core.ReaderClaim{
			Name: "another", Owner: "two", Lease: time.Minute,
		}); err != nil {
			t.Errorf("another name: %v", err)
		}
	}},
	{"of several that claim at once one succeeds", func(t *harness) {
		stores := []core.Store{t.store(), t.store()}
		won := 0
		for _, err := range all(16, func(i int) error {
			_, err := stores[i%2].ClaimReader(t.Context(), claimBy(id(i), time.Minute))
			return err
		}) {
			if err == nil {
				won++
				continue
			}
			wantReason(t, err, core.Conflict)
		}
		if won != 1 {
			t.Errorf("%d claims succeeded", won)
		}
	}},
	{"what was saved is where the next owner begins, and nothing goes back", func(t *harness) {
		s := t.store()
		for i := range 3 {
			create(t, s, newKey(home, id(i)))
		}
		began := claimed(t, s, "one", time.Minute)
		later := core.FeedReader{Position: 9, NoticesUntil: began.NoticesUntil.Add(time.Hour)}
		for _, at := range []core.FeedReader{later, began, {}} {
			if err := s.SaveReader(t.Context(), claimBy("one", time.Minute), at); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.SaveReader(t.Context(), claimBy("one", 0), core.FeedReader{}); err != nil {
			t.Fatalf("give up: %v", err)
		}
		if at := claimed(t, s, "two", time.Minute); at != later {
			t.Errorf("it begins at %+v, want %+v", at, later)
		}
	}},
	{"only the owner saves", func(t *harness) {
		s := t.store()
		claimed(t, s, "one", time.Minute)
		for _, c := range []core.ReaderClaim{
			claimBy("two", time.Minute), claimBy("two", 0), {Name: "unknown", Owner: "one", Lease: time.Minute},
		} {
			wantReason(t, s.SaveReader(t.Context(), c, core.FeedReader{Position: 5}), core.Conflict)
		}
		if at := claimed(t, s, "one", time.Minute); at.Position != 0 {
			t.Errorf("it is at %d", at.Position)
		}
	}},
	{"a lease ends by itself, and its owner then saves nothing any more", func(t *harness) {
		s := t.store()
		claimed(t, s, "one", time.Nanosecond)
		eventually(t, "another process takes over", func() bool {
			_, err := s.ClaimReader(t.Context(), claimBy("two", time.Minute))
			return err == nil
		})
		err := s.SaveReader(t.Context(), claimBy("one", time.Minute), core.FeedReader{Position: 5})
		wantReason(t, err, core.Conflict)
	}},
	{"saving renews the lease", func(t *harness) {
		s := t.store()
		claimed(t, s, "one", time.Nanosecond)
		if err := s.SaveReader(t.Context(), claimBy("one", time.Minute), core.FeedReader{}); err != nil {
			t.Fatal(err)
		}
		_, err := s.ClaimReader(t.Context(), claimBy("two", time.Minute))
		wantReason(t, err, core.Conflict)
	}},
}

var expiringTests = []test{
	{"the keys that expire in a period come in the order of their expiry, a page at a time", func(t *harness) {
		s := t.store()
		for i, expires := range []int{5, 3, 3, 3, 1, 0, 6, 4} {
			k := newKey(home, id(i))
			k.ExpireTime = now.Add(time.Duration(expires) * time.Hour)
			create(t, s, k)
		}
		create(t, s, newKey(home, "never"))
		foreign := newKey(other, "foreign")
		foreign.ExpireTime = now.Add(4 * time.Hour)
		create(t, s, foreign)

		q := core.ExpiryQuery{Network: home, From: now.Add(time.Hour), Before: now.Add(6 * time.Hour), Limit: 2}
		var got []string
		for {
			found, err := s.Expiring(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range found {
				got = append(got, k.ID)
			}
			if len(found) < q.Limit {
				break
			}
			q.From, q.AfterID = found[1].ExpireTime, found[1].ID
		}
		if want := []string{id(4), id(1), id(2), id(3), id(7), id(0)}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}},
	{"a key that is revoked or replaced does not count", func(t *harness) {
		s := t.store()
		for _, name := range []string{"active", "revoked", "rotated"} {
			k := newKey(home, name)
			k.ExpireTime = now.Add(time.Hour)
			create(t, s, k)
		}
		replaced := newKey(home, "replaced")
		replaced.ExpireTime, replaced.SuccessorID = now.Add(time.Hour), "active"
		create(t, s, replaced)
		if _, err := s.Revoke(t.Context(), home, core.AnyKind, "revoked", revocation()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Rotate(t.Context(), home, "rotated", rotation("successor")); err != nil {
			t.Fatal(err)
		}
		found, err := s.Expiring(t.Context(), core.ExpiryQuery{Network: home, From: now, Before: now.Add(2 * time.Hour),
			Limit: 10})
		if err != nil || len(found) != 2 || found[0].ID != "active" || found[1].ID != "successor" {
			t.Errorf("got %+v, %v", found, err)
		}
	}},
	{"a limit of none is refused", func(t *harness) {
		_, err := t.store().Expiring(t.Context(), core.ExpiryQuery{Network: home})
		wantReason(t, err, core.Internal)
	}},
}
