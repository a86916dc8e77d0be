package storagetest

import (
	"context"
	"strconv"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

var createTests = []test{
	{"a key reads back as it was given, every field of it", func(t *harness) {
		s := t.store()
		want := fullKey(home, "full")
		wantKey(t, create(t, s, want), want)
		wantKey(t, get(t, s, home, "full"), want)
	}},
	{"fields that were left out read back empty", func(t *harness) {
		s := t.store()
		want := newKey(home, "plain")
		wantKey(t, create(t, s, want), want)
		wantKey(t, get(t, s, home, "plain"), want)
	}},
	{"what create answers is what get answers, whatever the precision and place of its times", func(t *harness) {
		s := t.store()
		k := newKey(home, "nanoseconds")
		k.Scopes = []string{}
		k.CreateTime = time.Date(2026, 7, 1, 0, 0, 0, 123_456_789, time.FixedZone("east", 3600))
		k.ExpireTime = k.CreateTime.Add(time.Hour)
		stored := create(t, s, k)
		wantKey(t, get(t, s, home, k.ID), stored)
		if stored.ExpireTime.After(k.ExpireTime) || stored.ExpireTime.Location() != time.UTC {
			t.Errorf("expires at %v, want no later than %v, in UTC", stored.ExpireTime, k.ExpireTime)
		}
	}},
	{"an expiry at the beginning of Unix time is not never", func(t *harness) {
		s := t.store()
		k := newKey(home, "epoch")
		k.ExpireTime = time.Unix(0, 0).UTC()
		wantKey(t, create(t, s, k), k)
	}},
	{"a key id that is taken is a conflict, and the first key stays", func(t *harness) {
		s := t.store()
		first := create(t, s, newKey(home, "taken"))
		at := s.Positions().Applied()
		second := fullKey(home, "taken")
		_, created, err := s.Create(t.Context(), second)
		wantReason(t, err, core.Conflict)
		if created {
			t.Error("created is true")
		}
		wantKey(t, get(t, s, home, "taken"), first)
		if got := s.Positions().Applied(); got != at {
			t.Errorf("the position rose from %d to %d for nothing", at, got)
		}
	}},
	{"a request id that was used gives the first key and changes nothing", func(t *harness) {
		s := t.store()
		k := newKey(home, "first")
		k.RequestID = "the same"
		first := create(t, s, k)
		at := s.Positions().Applied()
		k.ID, k.Name = "second", "another name"
		again, created, err := s.Create(t.Context(), k)
		if err != nil || created {
			t.Fatalf("created %v, %v", created, err)
		}
		wantKey(t, again, first)
		wantAbsent(t, s, home, "second")
		if got := s.Positions().Applied(); got != at {
			t.Errorf("the position rose from %d to %d for nothing", at, got)
		}
	}},
	{"keys without a request id are not the same request", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "one"))
		create(t, s, newKey(home, "two"))
	}},
	{"a request id of another kind is another request", func(t *harness) {
		s := t.store()
		k := newKey(home, "issued")
		k.RequestID = "the same"
		create(t, s, k)
		k.ID, k.Kind = "imported", core.Imported
		create(t, s, k)
	}},
	{"of many with one request id at once, one key comes", func(t *harness) {
		s := t.store()
		const n = 32
		answers, created := make([]core.Key, n), make([]bool, n)
		for i, err := range all(n, func(i int) (err error) {
			k := newKey(home, id(i))
			k.RequestID = "race"
			answers[i], created[i], err = s.Create(t.Context(), k)
			return err
		}) {
			if err != nil {
				t.Errorf("create %d: %v", i, err)
			}
		}
		made := 0
		for i := range n {
			wantKey(t, answers[i], answers[0])
			if created[i] {
				made++
			}
		}
		if made != 1 || s.Positions().Changed(feed.EventCreated) != 1 {
			t.Errorf("%d calls created a key, and there are %d events", made, s.Positions().Changed(feed.EventCreated))
		}
	}},
	{"of many with one key id at once, one wins and the others are conflicts", func(t *harness) {
		s := t.store()
		won := 0
		for _, err := range all(32, func(int) error {
			_, _, err := s.Create(t.Context(), newKey(home, "race"))
			return err
		}) {
			if err == nil {
				won++
				continue
			}
			wantReason(t, err, core.Conflict)
		}
		if won != 1 {
			t.Errorf("%d won", won)
		}
	}},
}

var lookUpTests = []test{
	{"a key that is not there is not found", func(t *harness) {
		wantAbsent(t, t.store(), home, "nobody")
	}},
	{"ids are compared byte for byte", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "abc"))
		for _, odd := range []string{"ABC", "abc ", "ab", "abc\x00", "abc%", "a_c", "", "' OR 1=1 --", "\xff"} {
			wantAbsent(t, s, home, odd)
			found, err := s.GetMany(t.Context(), home, []string{odd})
			if err != nil || len(found) != 0 {
				t.Errorf("get many %q: %v, %v", odd, found, err)
			}
		}
	}},
	{"many at once: those that exist, by id", func(t *harness) {
		s := t.store()
		a, b := create(t, s, fullKey(home, "a")), create(t, s, newKey(home, "b"))
		found, err := s.GetMany(t.Context(), home, []string{"b", "missing", "a", "b"})
		if err != nil || len(found) != 2 {
			t.Fatalf("found %v, %v", found, err)
		}
		wantKey(t, found["a"], a)
		wantKey(t, found["b"], b)
	}},
	{"many at once: none asked for, none found", func(t *harness) {
		s := t.store()
		for _, ids := range [][]string{nil, {}} {
			if found, err := s.GetMany(t.Context(), home, ids); err != nil || len(found) != 0 {
				t.Errorf("found %v, %v", found, err)
			}
		}
	}},
	{"many at once: a thousand", func(t *harness) {
		s := t.store()
		ids := make([]string, 1000)
		for i, err := range all(len(ids), func(i int) error {
			ids[i] = id(i)
			_, _, err := s.Create(t.Context(), newKey(home, ids[i]))
			return err
		}) {
			if err != nil {
				t.Fatalf("create %d: %v", i, err)
			}
		}
		found, err := s.GetMany(t.Context(), home, ids)
		if err != nil || len(found) != len(ids) {
			t.Errorf("found %d of %d, %v", len(found), len(ids), err)
		}
	}},
	{"attack 18: networks never meet, in any verb", func(t *harness) {
		s := t.store()
		k := newKey(home, "same")
		k.RequestID = "same"
		mine := create(t, s, k)
		wantAbsent(t, s, other, "same")
		if found, err := s.GetMany(t.Context(), other, []string{"same"}); err != nil || len(found) != 0 {
			t.Errorf("the other network finds %v, %v", found, err)
		}
		_, err := s.Revoke(t.Context(), other, core.AnyKind, "same", revocation())
		wantReason(t, err, core.KeyNotFound)

		k.Network, k.Name = other, "theirs"
		theirs := create(t, s, k) // neither the id nor the request id is taken there
		if _, err := s.Revoke(t.Context(), other, core.Issued, "same", revocation()); err != nil {
			t.Fatal(err)
		}
		wantKey(t, get(t, s, home, "same"), mine)
		if got := get(t, s, other, "same"); got.Status != core.StatusRevoked || got.Name != theirs.Name {
			t.Errorf("theirs is %+v", got)
		}
	}},
}

var revokeTests = []test{
	{"an active key becomes a revoked one and is returned", func(t *harness) {
		s := t.store()
		want := create(t, s, fullKey(home, "k"))
		r := revocation()
		want.Status, want.RevocationReason, want.RevocationDescription = core.StatusRevoked, r.Reason, r.Description
		want.UpdateTime = r.Time
		got, err := s.Revoke(t.Context(), home, core.Imported, "k", r)
		if err != nil {
			t.Fatal(err)
		}
		wantKey(t, got, want)
		wantKey(t, get(t, s, home, "k"), want)
	}},
	{"so does an expired one", func(t *harness) {
		s := t.store()
		k := newKey(home, "old")
		k.ExpireTime = now.Add(-time.Hour)
		create(t, s, k)
		if got, err := s.Revoke(t.Context(), home, core.AnyKind, "old", revocation()); err != nil ||
			got.Status != core.StatusRevoked {
			t.Errorf("%+v, %v", got, err)
		}
	}},
	{"a key that was revoked before is a failed precondition and keeps its first reason", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		first, err := s.Revoke(t.Context(), home, core.Issued, "k", revocation())
		if err != nil {
			t.Fatal(err)
		}
		at := s.Positions().Applied()
		_, err = s.Revoke(t.Context(), home, core.Issued, "k", core.Revocation{
			Reason: core.ReasonSuperseded, Time: now.Add(time.Hour),
		})
		wantReason(t, err, core.FailedPrecondition)
		wantKey(t, get(t, s, home, "k"), first)
		if got := s.Positions().Applied(); got != at {
			t.Errorf("the position rose from %d to %d for nothing", at, got)
		}
	}},
	{"a key that is not there is not found", func(t *harness) {
		_, err := t.store().Revoke(t.Context(), home, core.AnyKind, "nobody", revocation())
		wantReason(t, err, core.KeyNotFound)
	}},
	{"a key of another kind is not found and stays active, and also when it is revoked", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		_, err := s.Revoke(t.Context(), home, core.Imported, "k", revocation())
		wantReason(t, err, core.KeyNotFound)
		if got := get(t, s, home, "k"); got.Status != core.StatusActive {
			t.Errorf("status is %d", got.Status)
		}
		if _, err := s.Revoke(t.Context(), home, core.AnyKind, "k", revocation()); err != nil {
			t.Fatal(err)
		}
		_, err = s.Revoke(t.Context(), home, core.Imported, "k", revocation())
		wantReason(t, err, core.KeyNotFound)
	}},
	{"of many at once, exactly one wins", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "race"))
		won := 0
		for _, err := range all(32, func(i int) error {
			_, err := s.Revoke(t.Context(), home, core.AnyKind, "race", core.Revocation{
				Reason: core.ReasonPrivilegeWithdrawn, Description: strconv.Itoa(i), Time: now,
			})
			return err
		}) {
			if err == nil {
				won++
				continue
			}
			wantReason(t, err, core.FailedPrecondition)
		}
		if won != 1 || s.Positions().Changed(feed.EventRevoked) != 1 {
			t.Errorf("%d won, and there are %d events", won, s.Positions().Changed(feed.EventRevoked))
		}
	}},
}

var secretTests = []test{
	{"the first secret of a network is taken, and recognised from then on", func(t *harness) {
		s := t.store()
		claim(t, s, home, "a")
		claim(t, s, home, "a")
		claim(t, s, home, "a", "older")
	}},
	{"a lost secret is a failed precondition", func(t *harness) {
		s := t.store()
		claim(t, s, home, "a")
		wantReason(t, s.ClaimSecret(t.Context(), home, []string{"b"}), core.FailedPrecondition)
		wantReason(t, s.ClaimSecret(t.Context(), home, []string{"b", "c"}), core.FailedPrecondition)
		claim(t, s, home, "a")
	}},
	{"a rotated secret replaces the one that was retired", func(t *harness) {
		s := t.store()
		claim(t, s, home, "a")
		claim(t, s, home, "b", "a")
		claim(t, s, home, "b")
		wantReason(t, s.ClaimSecret(t.Context(), home, []string{"a"}), core.FailedPrecondition)
	}},
	{"networks have secrets of their own", func(t *harness) {
		s := t.store()
		claim(t, s, home, "a")
		claim(t, s, other, "b")
		wantReason(t, s.ClaimSecret(t.Context(), other, []string{"a"}), core.FailedPrecondition)
	}},
	{"no secret at all is refused", func(t *harness) {
		wantReason(t, t.store().ClaimSecret(t.Context(), home, nil), core.Internal)
	}},
	{"a claim is no change of a key", func(t *harness) {
		s := t.store()
		claim(t, s, home, "a")
		if got := s.Positions().Applied(); got != 0 {
			t.Errorf("the position is %d", got)
		}
	}},
}

func claim(t *harness, s core.Store, network core.NetworkID, checks ...string) {
	t.Helper()
	if err := s.ClaimSecret(t.Context(), network, checks); err != nil {
		t.Fatalf("claim %v: %v", checks, err)
	}
}

// ended is a context that is over.
func ended(t *harness) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
