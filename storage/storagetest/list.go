package storagetest

import (
	"slices"
	"strconv"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// pages reads a list to its end and returns the ids of its keys. between is called after each page but the last.
func pages(t *harness, s core.Store, q core.ListQuery, between func()) (ids []string) {
	t.Helper()
	for {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		if len(page.Keys) > q.Limit || len(page.Keys) < q.Limit && page.Next != 0 {
			t.Fatalf("a page of %d keys has %d, and the next is %d", q.Limit, len(page.Keys), page.Next)
		}
		for _, k := range page.Keys {
			ids = append(ids, k.ID)
		}
		if page.Next == 0 {
			return ids
		}
		q.After = page.Next
		between()
	}
}

func issuedList(limit int) core.ListQuery {
	return core.ListQuery{Network: home, Kind: core.Issued, Now: now, Limit: limit}
}

func wantIDs(t *harness, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the list is %v, want %v", got, want)
	}
}

func nothing() {}

var listTests = []test{
	{"keys are in the order of their creation, whatever their ids and times, and whole", func(t *harness) {
		s := t.store()
		var want []string
		for i := range 7 {
			k := fullKey(home, strconv.Itoa((i*5)%7))
			k.Kind = core.Issued
			k.CreateTime = now.Add(-time.Duration(i) * time.Hour)
			create(t, s, k)
			want = append(want, k.ID)
		}
		for limit := 1; limit <= 8; limit++ {
			wantIDs(t, pages(t, s, issuedList(limit), nothing), want...)
		}
		page, err := s.List(t.Context(), issuedList(1))
		if err != nil {
			t.Fatal(err)
		}
		wantKey(t, page.Keys[0], get(t, s, home, want[0]))
	}},
	{"an empty list is one page, and so is one as long as a page", func(t *harness) {
		s := t.store()
		wantIDs(t, pages(t, s, issuedList(2), nothing))
		create(t, s, newKey(home, "a"))
		create(t, s, newKey(home, "b"))
		if page, err := s.List(t.Context(), issuedList(2)); err != nil || len(page.Keys) != 2 || page.Next != 0 {
			t.Errorf("%+v, %v", page, err)
		}
	}},
	{"attack 18: a list holds keys of one network and kind", func(t *harness) {
		s := t.store()
		create(t, s, newKey(other, "theirs"))
		create(t, s, newKey(home, "mine"))
		create(t, s, imported(home, "imported"))
		create(t, s, imported(other, "theirs too"))
		wantIDs(t, pages(t, s, issuedList(1), nothing), "mine")
		q := issuedList(1)
		q.Kind = core.Imported
		wantIDs(t, pages(t, s, q, nothing), "imported")
		q.Network = other
		wantIDs(t, pages(t, s, q, nothing), "theirs too")
	}},
	{"it can be of one actor, of one state at a moment, or of both", func(t *harness) {
		s := t.store()
		for i, actor := range []string{"a", "b"} {
			for _, state := range []string{"active", "lasting", "expired", "revoked", "revoked after expiry"} {
				k := newKey(home, actor+" "+state)
				k.ActorID = actor
				switch state {
				case "lasting":
					k.ExpireTime = now.Add(time.Microsecond)
				case "expired", "revoked after expiry":
					k.ExpireTime = now.Add(-time.Duration(i) * time.Second)
				}
				create(t, s, k)
				if state == "revoked" || state == "revoked after expiry" {
					if _, err := s.Revoke(t.Context(), home, core.Issued, k.ID, revocation()); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for _, tt := range []struct {
			actor  string
			status core.Status
			want   []string
		}{
			{"a", core.StatusUnknown, []string{
				"a active", "a lasting", "a expired", "a revoked", "a revoked after expiry",
			}},
			{"", core.StatusActive, []string{"a active", "a lasting", "b active", "b lasting"}},
			{"", core.StatusExpired, []string{"a expired", "b expired"}},
			{"", core.StatusRevoked, []string{
				"a revoked", "a revoked after expiry", "b revoked", "b revoked after expiry",
			}},
			{"b", core.StatusActive, []string{"b active", "b lasting"}},
			{"b", core.StatusExpired, []string{"b expired"}},
			{"b", core.StatusRevoked, []string{"b revoked", "b revoked after expiry"}},
			{"B", core.StatusUnknown, nil},
			{"' OR 1=1 --", core.StatusActive, nil},
		} {
			for limit := 1; limit <= 3; limit++ {
				q := issuedList(limit)
				q.ActorID, q.Status = tt.actor, tt.status
				wantIDs(t, pages(t, s, q, nothing), tt.want...)
			}
		}
	}},
	{"keys that come and go between pages move no other", func(t *harness) {
		s := t.store()
		var stay []string
		for i := range 20 {
			create(t, s, imported(home, id(i)))
			if i%2 == 0 {
				stay = append(stay, id(i))
			}
		}
		gone, come := 1, 100
		q := issuedList(2)
		q.Kind = core.Imported
		got := pages(t, s, q, func() {
			if gone < 20 {
				if err := s.Delete(t.Context(), home, id(gone), deletion()); err != nil {
					t.Fatal(err)
				}
				gone += 2
			}
			if come < 105 {
				create(t, s, imported(home, id(come)))
				come++
			}
		})
		wantEach(t, got, stay)
	}},
	{"while others create, revoke and delete, what stays is on exactly one page", func(t *harness) {
		s := t.store()
		var stay []string
		for i := range 200 {
			create(t, s, imported(home, id(i)))
			stay = append(stay, id(i))
		}
		stop := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			for i := 1000; ; i++ {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				if _, _, err := s.Create(t.Context(), imported(home, id(i))); err != nil {
					done <- err
					return
				}
				if err := s.Delete(t.Context(), home, id(i), deletion()); err != nil {
					done <- err
					return
				}
			}
		}()
		q := issuedList(7)
		q.Kind = core.Imported
		for range 20 {
			wantEach(t, pages(t, s, q, nothing), stay)
		}
		close(stop)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}},
	{"a cursor behind the last key is an empty page", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "a"))
		for _, after := range []uint64{1, 1 << 62, 1<<64 - 1} {
			q := issuedList(1)
			q.After = after
			if page, err := s.List(t.Context(), q); err != nil || len(page.Keys) != 0 || page.Next != 0 {
				t.Errorf("after %d: %+v, %v", after, page, err)
			}
		}
	}},
	{"a list that there is not is an error", func(t *harness) {
		s := t.store()
		for _, change := range []func(*core.ListQuery){
			func(q *core.ListQuery) { q.Limit = 0 },
			func(q *core.ListQuery) { q.Limit = -1 },
			func(q *core.ListQuery) { q.Kind = core.AnyKind },
			func(q *core.ListQuery) { q.Status = 9 },
		} {
			q := issuedList(1)
			change(&q)
			_, err := s.List(t.Context(), q)
			wantReason(t, err, core.Internal)
		}
	}},
}

// wantEach checks that a list has no key twice, and each of those that stayed, in their order.
func wantEach(t *harness, got, stay []string) {
	t.Helper()
	seen := map[string]bool{}
	at := 0
	for _, id := range got {
		if seen[id] {
			t.Errorf("%s is in the list twice", id)
		}
		seen[id] = true
		if at < len(stay) && stay[at] == id {
			at++
		}
	}
	if at < len(stay) {
		t.Errorf("%s is missing or not in its place", stay[at])
	}
}
