package storagetest

import (
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// suspend suspends a key, which must succeed.
func suspend(t *harness, s core.Store, keyID string) core.Key {
	t.Helper()
	k, err := s.Suspend(t.Context(), home, core.AnyKind, keyID, core.Suspension{Time: now.Add(time.Minute)})
	if err != nil {
		t.Fatalf("suspend %s: %v", keyID, err)
	}
	return k
}

// resume resumes a key, which must succeed.
func resume(t *harness, s core.Store, keyID string) core.Key {
	t.Helper()
	k, err := s.Resume(t.Context(), home, core.AnyKind, keyID, core.Resumption{Time: now.Add(time.Hour)})
	if err != nil {
		t.Fatalf("resume %s: %v", keyID, err)
	}
	return k
}

var suspendTests = []test{
	{"a suspended key is stored as a revoked one with the time, and resumed it is what it was", func(t *harness) {
		s := t.store()
		issued := fullKey(home, "issued")
		issued.Kind = core.Issued
		for _, k := range []core.Key{issued, fullKey(home, "imported")} {
			k = create(t, s, k)
			want := k
			want.Status, want.SuspendTime, want.UpdateTime =
				core.StatusRevoked, now.Add(time.Minute), now.Add(time.Minute)
			wantKey(t, suspend(t, s, k.ID), want)
			wantKey(t, get(t, s, home, k.ID), want)
			want = k
			want.UpdateTime = now.Add(time.Hour)
			wantKey(t, resume(t, s, k.ID), want)
			wantKey(t, get(t, s, home, k.ID), want)
		}
	}},
	{"each is an event that raises the key's position", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		suspend(t, s, "k")
		resume(t, s, "k")
		read := events(t, s, 1, 10)
		if len(read) != 2 || read[0].Kind != feed.EventSuspended || read[1].Kind != feed.EventResumed ||
			read[0].KeyID != "k" || read[1].KeyID != "k" || read[0].Reason != 0 ||
			!read[0].Time.Equal(now.Add(time.Minute)) || !read[1].Time.Equal(now.Add(time.Hour)) {
			t.Errorf("got %+v", read)
		}
		p := s.Positions()
		if p.Changed(feed.EventSuspended) != 1 || p.Changed(feed.EventResumed) != 1 ||
			p.At(feed.SlotOf(home, "k")) != 3 {
			t.Errorf("%d suspended, %d resumed, the slot is at %d", p.Changed(feed.EventSuspended),
				p.Changed(feed.EventResumed), p.At(feed.SlotOf(home, "k")))
		}
	}},
	{"a key that expires while it is suspended is expired once it is resumed", func(t *harness) {
		s := t.store()
		k := newKey(home, "k")
		k.ExpireTime = now.Add(30 * time.Minute)
		create(t, s, k)
		suspend(t, s, "k")
		got := resume(t, s, "k")
		if !got.ExpireTime.Equal(k.ExpireTime) || got.StatusAt(now.Add(time.Hour)) != core.StatusExpired {
			t.Errorf("the key is %+v", got)
		}
	}},
	{"what is not active is not suspended, and what is not suspended is not resumed", func(t *harness) {
		s := t.store()
		for _, keyID := range []string{"active", "suspended", "revoked"} {
			create(t, s, newKey(home, keyID))
		}
		suspend(t, s, "suspended")
		if _, err := s.Revoke(t.Context(), home, core.Issued, "revoked", revocation()); err != nil {
			t.Fatal(err)
		}
		at := s.Positions().Applied()
		for keyID, text := range map[string]string{"suspended": "suspended already", "revoked": "is revoked"} {
			_, err := s.Suspend(t.Context(), home, core.Issued, keyID, core.Suspension{Time: now})
			wantReason(t, err, core.FailedPrecondition)
			wantText(t, err, text)
		}
		for keyID, text := range map[string]string{"active": "not suspended", "revoked": "for good"} {
			_, err := s.Resume(t.Context(), home, core.Issued, keyID, core.Resumption{Time: now})
			wantReason(t, err, core.FailedPrecondition)
			wantText(t, err, text)
		}
		if n := s.Positions().Applied(); n != at {
			t.Errorf("the position rose from %d to %d for nothing", at, n)
		}
	}},
	{"a revocation of a suspended key is final", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		suspend(t, s, "k")
		k, err := s.Revoke(t.Context(), home, core.AnyKind, "k", revocation())
		if err != nil || k.IsSuspended() || k.Status != core.StatusRevoked ||
			k.RevocationReason != revocation().Reason {
			t.Errorf("%+v, %v", k, err)
		}
		wantKey(t, get(t, s, home, "k"), k)
		_, err = s.Resume(t.Context(), home, core.AnyKind, "k", core.Resumption{Time: now})
		wantReason(t, err, core.FailedPrecondition)
		_, err = s.Revoke(t.Context(), home, core.AnyKind, "k", revocation())
		wantReason(t, err, core.FailedPrecondition)
	}},
	{"a suspended key is neither updated nor rotated, and can be deleted if it was imported", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		create(t, s, imported(home, "imported"))
		want := suspend(t, s, "k")
		suspend(t, s, "imported")
		_, err := s.Update(t.Context(), home, core.AnyKind, "k", rename("x"))
		wantReason(t, err, core.FailedPrecondition)
		wantText(t, err, "resume it first")
		for _, r := range []core.Rotation{rotation("new"), withGrace("new")} {
			_, _, err = s.Rotate(t.Context(), home, "k", r)
			wantReason(t, err, core.FailedPrecondition)
			wantText(t, err, "resume it first")
		}
		wantKey(t, get(t, s, home, "k"), want)
		if err := s.Delete(t.Context(), home, "imported", deletion()); err != nil {
			t.Error(err)
		}
	}},
	{"a key is suspended and resumed within its grace period, which it does not prolong", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "old"))
		fresh, old := rotate(t, s, "old", withGrace("new"))
		suspend(t, s, "old")
		wantKey(t, get(t, s, home, "new"), fresh)
		old.UpdateTime = now.Add(time.Hour)
		wantKey(t, resume(t, s, "old"), old)
	}},
	{"attack 18: a key of another kind or network is not found", func(t *harness) {
		s := t.store()
		k := create(t, s, newKey(home, "k"))
		for _, tt := range []struct {
			network core.NetworkID
			kind    core.Kind
			id      string
		}{{home, core.Imported, "k"}, {other, core.AnyKind, "k"}, {home, core.AnyKind, "nobody"}} {
			_, err := s.Suspend(t.Context(), tt.network, tt.kind, tt.id, core.Suspension{Time: now})
			wantReason(t, err, core.KeyNotFound)
			_, err = s.Resume(t.Context(), tt.network, tt.kind, tt.id, core.Resumption{Time: now})
			wantReason(t, err, core.KeyNotFound)
		}
		wantKey(t, get(t, s, home, "k"), k)
	}},
	{"a suspended key counts for no quota, and is resumed only where there is room", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		want := suspend(t, s, "k")
		results, err := s.CreateMany(t.Context(), home, []core.Key{newKey(home, "second")}, 1)
		if err != nil || results[0].Err != nil {
			t.Fatalf("%+v, %v", results, err)
		}
		full := core.Resumption{Time: now, Quota: 1}
		_, err = s.Resume(t.Context(), home, core.AnyKind, "k", full)
		wantReason(t, err, core.KeyQuotaExceeded)
		wantKey(t, get(t, s, home, "k"), want)
		if _, err = s.Revoke(t.Context(), home, core.AnyKind, "second", revocation()); err != nil {
			t.Fatal(err)
		}
		if _, err = s.Resume(t.Context(), home, core.AnyKind, "k", full); err != nil {
			t.Error(err)
		}
	}},
	{"an expired key is resumed whatever the quota: it is not active", func(t *harness) {
		s := t.store()
		k := newKey(home, "k")
		k.ExpireTime = now
		create(t, s, k)
		suspend(t, s, "k")
		create(t, s, newKey(home, "second"))
		r := core.Resumption{Time: now.Add(time.Hour), Quota: 1}
		if _, err := s.Resume(t.Context(), home, core.AnyKind, "k", r); err != nil {
			t.Error(err)
		}
	}},
	{"a suspended key is counted by prefix, until it is revoked", func(t *harness) {
		s := t.store()
		create(t, s, prefixed("k", "acme"))
		one := core.PrefixCount{Prefix: "acme", Keys: 1}
		suspend(t, s, "k")
		wantPrefixes(t, s, one)
		resume(t, s, "k")
		wantPrefixes(t, s, one)
		suspend(t, s, "k")
		if _, err := s.Revoke(t.Context(), home, core.AnyKind, "k", revocation()); err != nil {
			t.Fatal(err)
		}
		wantPrefixes(t, s)
	}},
	{"of many at once, exactly one wins", func(t *harness) {
		stores := []core.Store{t.store(), t.store()}
		create(t, stores[0], newKey(home, "k"))
		for _, change := range []func(s core.Store) error{
			func(s core.Store) error {
				_, err := s.Suspend(t.Context(), home, core.AnyKind, "k", core.Suspension{Time: now})
				return err
			},
			func(s core.Store) error {
				_, err := s.Resume(t.Context(), home, core.AnyKind, "k", core.Resumption{Time: now})
				return err
			},
		} {
			won := 0
			for _, err := range all(16, func(i int) error { return change(stores[i%2]) }) {
				if err == nil {
					won++
					continue
				}
				wantReason(t, err, core.FailedPrecondition)
			}
			if won != 1 {
				t.Errorf("%d won", won)
			}
		}
	}},
}
