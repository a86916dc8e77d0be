package storagetest

import (
	"net/netip"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// createMany adds keys and returns what came of each.
func createMany(t *harness, s core.Store, quota int64, keys ...core.Key) []core.CreateResult {
	t.Helper()
	results, err := s.CreateMany(t.Context(), home, keys, quota)
	if err != nil || len(results) != len(keys) {
		t.Fatalf("create %d keys: %d results, %v", len(keys), len(results), err)
	}
	return results
}

// wantMade checks which of the results are of keys that were created.
func wantMade(t *harness, results []core.CreateResult, want ...bool) {
	t.Helper()
	for i, r := range results {
		if (r.Err == nil && r.Created) != want[i] {
			t.Errorf("result %d: created %v, %v; want created %v", i, r.Created, r.Err, want[i])
		}
	}
}

// imported is an imported key that has the required fields and nothing else.
func imported(network core.NetworkID, id string) core.Key {
	k := newKey(network, id)
	k.Kind = core.Imported
	return k
}

var createManyTests = []test{
	{"all are created in their order, in one transaction, and each has a position of its own", func(t *harness) {
		s, c := t.controlled()
		before := c.Commits()
		keys := make([]core.Key, 1000)
		for i := range keys {
			keys[i] = fullKey(home, id(i))
		}
		for i, r := range createMany(t, s, 0, keys...) {
			if r.Err != nil || !r.Created {
				t.Fatalf("key %d: %+v", i, r)
			}
			wantKey(t, r.Key, keys[i])
			if s.Positions().At(feed.SlotOf(home, id(i))) == 0 {
				t.Errorf("the slot of key %d was not raised", i)
			}
		}
		if n := c.Commits() - before; n != 1 {
			t.Errorf("%d commits", n)
		}
		if n := s.Positions().Changed(feed.EventCreated); n != 1000 {
			t.Errorf("%d events", n)
		}
		wantKey(t, get(t, s, home, id(999)), keys[999])
	}},
	{"what is refused fails alone", func(t *harness) {
		s := t.store()
		create(t, s, imported(home, "taken"))
		broken := imported(home, "broken")
		broken.AllowedCIDRs = []netip.Prefix{{}}
		results := createMany(t, s, 0, imported(home, "a"), imported(home, "taken"), imported(home, "a"), broken,
			imported(other, "foreign"), imported(home, "b"))
		wantMade(t, results, true, false, false, false, false, true)
		wantReason(t, results[1].Err, core.Conflict)
		wantReason(t, results[2].Err, core.Conflict)
		wantReason(t, results[3].Err, core.Internal)
		wantReason(t, results[4].Err, core.Internal)
		wantAbsent(t, s, home, "broken")
		wantAbsent(t, s, home, "foreign")
		wantAbsent(t, s, other, "foreign")
		if n := s.Positions().Applied(); n != 3 {
			t.Errorf("the position is %d: a key that was refused has one", n)
		}
	}},
	{"a request id that was used, before or by an earlier one, gives that key", func(t *harness) {
		s := t.store()
		first := imported(home, "first")
		first.RequestID = "one"
		create(t, s, first)
		again, second, third := imported(home, "again"), imported(home, "second"), imported(home, "third")
		again.RequestID, second.RequestID, third.RequestID = "one", "two", "two"
		results := createMany(t, s, 0, again, second, third)
		wantMade(t, results, false, true, false)
		wantKey(t, results[0].Key, first)
		wantKey(t, results[2].Key, second)
		wantAbsent(t, s, home, "again")
		wantAbsent(t, s, home, "third")
	}},
	{"an id that a refused one has, or one that gives another key, is free for the next one", func(t *harness) {
		s := t.store()
		first := imported(home, "first")
		first.RequestID = "one"
		create(t, s, first)
		broken, again, fresh := imported(home, "a"), imported(home, "a"), imported(home, "a")
		later := imported(home, "b")
		broken.AllowedCIDRs = []netip.Prefix{{}}
		again.RequestID, fresh.RequestID, later.RequestID = "one", "two", "two"
		results := createMany(t, s, 0, broken, again, fresh, later)
		wantMade(t, results, false, false, true, false)
		wantKey(t, results[1].Key, first)
		wantKey(t, results[2].Key, fresh)
		wantKey(t, results[3].Key, fresh)
		wantAbsent(t, s, home, "b")
	}},
	{"none asked for, none made", func(t *harness) {
		s := t.store()
		if results, err := s.CreateMany(t.Context(), home, nil, 1); err != nil || len(results) != 0 {
			t.Errorf("%v, %v", results, err)
		}
	}},
	{"attack 07: when the commit fails, none is created", func(t *harness) {
		s, c := t.controlled()
		c.FailNextCommit(errInjected)
		keys := []core.Key{imported(home, "a"), imported(home, "b")}
		if _, err := s.CreateMany(t.Context(), home, keys, 0); err == nil {
			t.Error("no error")
		}
		wantAbsent(t, s, home, "a")
		wantAbsent(t, s, home, "b")
		if n := s.Positions().Applied(); n != 0 {
			t.Errorf("the position is %d", n)
		}
	}},
	{"of the same keys many times at once, each is created once", func(t *harness) {
		s := t.store()
		keys := make([]core.Key, 50)
		for i := range keys {
			keys[i] = imported(home, id(i))
		}
		made := make([]int, 8)
		for i, err := range all(len(made), func(i int) error {
			results, err := s.CreateMany(t.Context(), home, keys, 0)
			for _, r := range results {
				if r.Created {
					made[i]++
				}
			}
			return err
		}) {
			if err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
		sum := 0
		for _, n := range made {
			sum += n
		}
		if sum != len(keys) {
			t.Errorf("%d were created, want %d", sum, len(keys))
		}
	}},
}

var quotaTests = []test{
	{"it counts active keys that have not expired, of both kinds and of this network only", func(t *harness) {
		s := t.store()
		expired, revoked, foreign := newKey(home, "expired"), newKey(home, "revoked"), newKey(other, "foreign")
		expired.ExpireTime = now
		create(t, s, expired)
		create(t, s, revoked)
		create(t, s, foreign)
		if _, err := s.Revoke(t.Context(), home, core.AnyKind, "revoked", revocation()); err != nil {
			t.Fatal(err)
		}
		later := newKey(home, "expires later")
		later.ExpireTime = now.Add(time.Microsecond)
		create(t, s, later)
		results := createMany(t, s, 3, newKey(home, "a"), imported(home, "b"), newKey(home, "c"))
		wantMade(t, results, true, true, false)
		wantReason(t, results[2].Err, core.KeyQuotaExceeded)
		wantAbsent(t, s, home, "c")
	}},
	{"what is refused for another reason takes none of it", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "taken"))
		results := createMany(t, s, 2, newKey(home, "taken"), newKey(home, "a"), newKey(home, "b"))
		wantMade(t, results, false, true, false)
		wantReason(t, results[0].Err, core.Conflict)
		wantReason(t, results[2].Err, core.KeyQuotaExceeded)
	}},
	{"a full one does not keep a repeated request from its key", func(t *harness) {
		s := t.store()
		k := newKey(home, "k")
		k.RequestID = "one"
		wantMade(t, createMany(t, s, 1, k), true)
		k.ID = "again"
		results := createMany(t, s, 1, k)
		wantMade(t, results, false)
		if results[0].Err != nil || results[0].Key.ID != "k" {
			t.Errorf("%+v", results[0])
		}
	}},
	{"one that was lowered refuses all, and makes room again as keys are revoked or deleted", func(t *harness) {
		s := t.store()
		for i := range 4 {
			create(t, s, imported(home, id(i)))
		}
		wantMade(t, createMany(t, s, 2, newKey(home, "a")), false)
		for i := range 2 {
			if _, err := s.Revoke(t.Context(), home, core.AnyKind, id(i), revocation()); err != nil {
				t.Fatal(err)
			}
		}
		wantMade(t, createMany(t, s, 2, newKey(home, "a")), false)
		if err := s.Delete(t.Context(), home, id(2), deletion()); err != nil {
			t.Fatal(err)
		}
		wantMade(t, createMany(t, s, 2, newKey(home, "a")), true)
	}},
	{"of many at once, and through two stores, exactly as many are created as it allows", func(t *harness) {
		stores := []core.Store{t.store(), t.store()}
		results := make([][]core.CreateResult, 32)
		for i, err := range all(len(results), func(i int) (err error) {
			keys := []core.Key{newKey(home, id(2*i)), newKey(home, id(2*i+1))}
			results[i], err = stores[i%2].CreateMany(t.Context(), home, keys, 21)
			return err
		}) {
			if err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
		made := 0
		for _, pair := range results {
			for _, r := range pair {
				if r.Created {
					made++
					continue
				}
				wantReason(t, r.Err, core.KeyQuotaExceeded)
			}
		}
		if made != 21 {
			t.Errorf("%d keys were created, want 21", made)
		}
	}},
}
