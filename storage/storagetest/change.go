package storagetest

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

func deletion() core.Deletion { return core.Deletion{Time: now.Add(time.Minute)} }

// rename is an update of the name alone.
func rename(to string) core.Update {
	return core.Update{Patch: core.Patch{Name: &to}, Time: now.Add(time.Minute)}
}

// clearing is a patch that clears all that can be cleared.
func clearing() core.Patch {
	return core.Patch{
		Scopes: &[]string{}, Metadata: new(json.RawMessage), RateLimit: new(core.RateLimitPolicy),
		AllowedCIDRs: new([]netip.Prefix),
	}
}

var updateTests = []test{
	{"fields that are named change, and no others", func(t *harness) {
		s := t.store()
		want := create(t, s, fullKey(home, "k"))
		scopes, ranges := []string{"x"}, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		metadata, limit := json.RawMessage(`{"a":1}`), core.RateLimitPolicy{Quota: 5, Unit: "u", Window: time.Second}
		name := "renamed"
		want.UpdateTime = now.Add(time.Minute)
		for _, step := range []struct {
			patch core.Patch
			made  func()
		}{
			{core.Patch{Name: &name}, func() { want.Name = name }},
			{core.Patch{Scopes: &scopes}, func() { want.Scopes = scopes }},
			{core.Patch{Metadata: &metadata}, func() { want.Metadata = metadata }},
			{core.Patch{RateLimit: &limit}, func() { want.RateLimit = limit }},
			{core.Patch{AllowedCIDRs: &ranges}, func() { want.AllowedCIDRs = ranges }},
			{clearing(), func() {
				want.Scopes, want.Metadata, want.AllowedCIDRs = nil, nil, nil
				want.RateLimit = core.RateLimitPolicy{}
			}},
		} {
			step.made()
			got, err := s.Update(t.Context(), home, core.Imported, "k",
				core.Update{Patch: step.patch, Time: want.UpdateTime})
			if err != nil {
				t.Fatal(err)
			}
			wantKey(t, got, want)
			wantKey(t, get(t, s, home, "k"), want)
		}
		if n := s.Positions().Changed(feed.EventUpdated); n != 6 || s.Positions().At(feed.SlotOf(home, "k")) != 7 {
			t.Errorf("%d events, and the slot is at %d", n, s.Positions().At(feed.SlotOf(home, "k")))
		}
	}},
	{"one that names nothing changes nothing", func(t *harness) {
		s := t.store()
		k := create(t, s, fullKey(home, "k"))
		got, err := s.Update(t.Context(), home, core.AnyKind, "k", core.Update{Time: now.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		wantKey(t, got, k)
		if n := s.Positions().Applied(); n != 1 {
			t.Errorf("the position is %d", n)
		}
	}},
	{"an expired key can be updated, a revoked one cannot", func(t *harness) {
		s := t.store()
		k := newKey(home, "k")
		k.ExpireTime = now
		create(t, s, k)
		if got, err := s.Update(t.Context(), home, core.Issued, "k", rename("x")); err != nil || got.Name != "x" {
			t.Errorf("%+v, %v", got, err)
		}
		revoked, err := s.Revoke(t.Context(), home, core.Issued, "k", revocation())
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range []core.Update{rename("y"), {Time: now}} {
			_, err = s.Update(t.Context(), home, core.Issued, "k", u)
			wantReason(t, err, core.FailedPrecondition)
		}
		wantKey(t, get(t, s, home, "k"), revoked)
	}},
	{"attack 18: a key of another kind or network is not found", func(t *harness) {
		s := t.store()
		k := create(t, s, newKey(home, "k"))
		for _, tt := range []struct {
			network core.NetworkID
			kind    core.Kind
			id      string
		}{{home, core.Imported, "k"}, {other, core.AnyKind, "k"}, {home, core.AnyKind, "nobody"}} {
			_, err := s.Update(t.Context(), tt.network, tt.kind, tt.id, rename("x"))
			wantReason(t, err, core.KeyNotFound)
		}
		wantKey(t, get(t, s, home, "k"), k)
	}},
	{"updates of different fields at once are all made", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "k"))
		patches := []core.Patch{
			{Name: new("renamed")}, {Scopes: &[]string{"s"}}, {Metadata: new(json.RawMessage(`{}`))},
			{RateLimit: &core.RateLimitPolicy{Quota: 1, Window: time.Second}},
			{AllowedCIDRs: &[]netip.Prefix{netip.MustParsePrefix("::1/128")}},
		}
		for i, err := range all(len(patches), func(i int) error {
			_, err := s.Update(t.Context(), home, core.AnyKind, "k", core.Update{Patch: patches[i], Time: now})
			return err
		}) {
			if err != nil {
				t.Errorf("update %d: %v", i, err)
			}
		}
		k := get(t, s, home, "k")
		if k.Name != "renamed" || len(k.Scopes) != 1 || k.Metadata == nil || k.RateLimit.Quota != 1 ||
			len(k.AllowedCIDRs) != 1 {
			t.Errorf("the key is %+v", k)
		}
	}},
}

var deleteTests = []test{
	{"an imported key is gone, whatever its state, and its position rises", func(t *harness) {
		s := t.store()
		create(t, s, imported(home, "active"))
		create(t, s, imported(home, "revoked"))
		if _, err := s.Revoke(t.Context(), home, core.AnyKind, "revoked", revocation()); err != nil {
			t.Fatal(err)
		}
		for i, id := range []string{"active", "revoked"} {
			if err := s.Delete(t.Context(), home, id, deletion()); err != nil {
				t.Fatal(err)
			}
			wantAbsent(t, s, home, id)
			if at := s.Positions().At(feed.SlotOf(home, id)); at != uint64(4+i) {
				t.Errorf("the slot of %s is at %d", id, at)
			}
			wantReason(t, s.Delete(t.Context(), home, id, deletion()), core.KeyNotFound)
		}
		if n := s.Positions().Changed(feed.EventDeleted); n != 2 {
			t.Errorf("%d events", n)
		}
	}},
	{"a deleted key can be imported again, with the same request id, and is listed last", func(t *harness) {
		s := t.store()
		k := fullKey(home, "k")
		create(t, s, k)
		create(t, s, imported(home, "between"))
		if err := s.Delete(t.Context(), home, "k", deletion()); err != nil {
			t.Fatal(err)
		}
		k.Name = "again"
		wantKey(t, create(t, s, k), k)
		wantKey(t, get(t, s, home, "k"), k)
		q := issuedList(10)
		q.Kind = core.Imported
		wantIDs(t, pages(t, s, q, nothing), "between", "k")
		if at := s.Positions().At(feed.SlotOf(home, "k")); at != 4 {
			t.Errorf("the slot is at %d", at)
		}
	}},
	{"attack 18: a key that is imported again has another sequence number, and keeps it", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "first"))
		k := create(t, s, imported(home, "k"))
		if got := get(t, s, home, "k").Sequence; got != k.Sequence {
			t.Errorf("it was created as %d, and says %d", k.Sequence, got)
		}
		if err := s.Delete(t.Context(), home, "k", deletion()); err != nil {
			t.Fatal(err)
		}
		again := create(t, s, imported(home, "k"))
		if again.Sequence <= k.Sequence {
			t.Errorf("it was created as %d and then as %d", k.Sequence, again.Sequence)
		}
		updated, err := s.Update(t.Context(), home, core.Imported, "k", rename("x"))
		if err != nil {
			t.Fatal(err)
		}
		found, err := s.GetMany(t.Context(), home, []string{"k"})
		if err != nil {
			t.Fatal(err)
		}
		for what, got := range map[string]uint64{
			"get": get(t, s, home, "k").Sequence, "update": updated.Sequence, "get many": found["k"].Sequence,
		} {
			if got != again.Sequence {
				t.Errorf("%s: it was created as %d, and says %d", what, again.Sequence, got)
			}
		}
		results, err := s.CreateMany(t.Context(), home, []core.Key{imported(home, "l")}, 0)
		if err != nil || results[0].Key.Sequence <= again.Sequence {
			t.Errorf("created after it: %+v, %v", results, err)
		}
	}},
	{"attack 18: an issued key and one of another network are not found, and stay", func(t *harness) {
		s := t.store()
		mine, theirs := create(t, s, newKey(home, "issued")), create(t, s, imported(other, "theirs"))
		for _, id := range []string{"issued", "theirs", "nobody"} {
			wantReason(t, s.Delete(t.Context(), home, id, deletion()), core.KeyNotFound)
		}
		wantKey(t, get(t, s, home, "issued"), mine)
		wantKey(t, get(t, s, other, "theirs"), theirs)
	}},
	{"of many at once, exactly one wins", func(t *harness) {
		s := t.store()
		create(t, s, imported(home, "k"))
		won := 0
		for _, err := range all(16, func(int) error { return s.Delete(t.Context(), home, "k", deletion()) }) {
			if err == nil {
				won++
				continue
			}
			wantReason(t, err, core.KeyNotFound)
		}
		if won != 1 {
			t.Errorf("%d won", won)
		}
	}},
}
