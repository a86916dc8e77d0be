package storagetest

import (
	"errors"
	"slices"

	"github.com/talos-edge/talos-edge/core"
)

var prefixTests = []test{
	{"issued keys are counted by prefix until they are revoked, imported ones never", func(t *harness) {
		s := t.store()
		wantPrefixes(t, s)
		create(t, s, prefixed("a", "acme"))
		create(t, s, prefixed("b", "acme"))
		create(t, s, prefixed("c", "other"))
		create(t, s, newKey(home, "not recorded"))
		create(t, s, imported(home, "imported"))
		wantPrefixes(t, s, core.PrefixCount{Prefix: "", Keys: 1}, core.PrefixCount{Prefix: "acme", Keys: 2},
			core.PrefixCount{Prefix: "other", Keys: 1})

		for _, id := range []string{"a", "c", "imported"} {
			if _, err := s.Revoke(t.Context(), home, core.AnyKind, id, revocation()); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Delete(t.Context(), home, "imported", deletion()); err != nil {
			t.Fatal(err)
		}
		wantPrefixes(t, s, core.PrefixCount{Prefix: "", Keys: 1}, core.PrefixCount{Prefix: "acme", Keys: 1})
	}},
	{"a rotation counts the new key by its own prefix", func(t *harness) {
		s := t.store()
		create(t, s, prefixed("old", "acme"))
		r := rotation("new")
		r.Prefix = "other"
		fresh, _, err := s.Rotate(t.Context(), home, "old", r)
		if err != nil || fresh.Prefix != "other" {
			t.Fatalf("the new key has the prefix %q: %v", fresh.Prefix, err)
		}
		wantPrefixes(t, s, core.PrefixCount{Prefix: "other", Keys: 1})
	}},
	{"networks are counted apart", func(t *harness) {
		s := t.store()
		theirs := newKey(other, "theirs")
		theirs.Prefix = "acme"
		create(t, s, theirs)
		wantPrefixes(t, s)
	}},
	{"what is refused or repeated counts nothing", func(t *harness) {
		s := t.store()
		k := prefixed("k", "acme")
		k.RequestID = "the same"
		create(t, s, k)
		again := k
		again.ID = "again"
		if _, created, err := s.Create(t.Context(), again); err != nil || created {
			t.Fatalf("created %v, %v", created, err)
		}
		_, _, err := s.Create(t.Context(), prefixed("k", "acme"))
		wantReason(t, err, core.Conflict)
		keys := []core.Key{prefixed("k", "acme"), prefixed("l", "acme"), prefixed("m", "acme")}
		if _, err := s.CreateMany(t.Context(), home, keys, 2); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Revoke(t.Context(), home, core.Issued, "l", revocation()); err != nil {
			t.Fatal(err)
		}
		_, err = s.Revoke(t.Context(), home, core.Issued, "l", revocation())
		wantReason(t, err, core.FailedPrecondition)
		wantPrefixes(t, s, core.PrefixCount{Prefix: "acme", Keys: 1})
	}},
	{"a commit that fails counts nothing", func(t *harness) {
		s, control := t.controlled()
		create(t, s, prefixed("k", "acme"))
		for _, change := range []func() error{
			func() error { _, _, err := s.Create(t.Context(), prefixed("lost", "acme")); return err },
			func() error { _, err := s.Revoke(t.Context(), home, core.Issued, "k", revocation()); return err },
		} {
			control.FailNextCommit(errors.New("the disk is full"))
			if err := change(); err == nil {
				t.Fatal("the change was acknowledged")
			}
			wantPrefixes(t, s, core.PrefixCount{Prefix: "acme", Keys: 1})
		}
	}},
	{"the counts outlive a store, and hold for changes through two at once", func(t *harness) {
		first, err := t.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		create(t, first, prefixed("first", "acme"))
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		stores := []core.Store{t.store(), t.store()}
		const n = 64
		for i, err := range all(n, func(i int) error {
			s := stores[i%2]
			if _, _, err := s.Create(t.Context(), prefixed(id(i), "acme")); err != nil || i%4 != 0 {
				return err
			}
			_, err := s.Revoke(t.Context(), home, core.Issued, id(i), revocation())
			return err
		}) {
			if err != nil {
				t.Fatalf("key %d: %v", i, err)
			}
		}
		for _, s := range stores {
			wantPrefixes(t, s, core.PrefixCount{Prefix: "acme", Keys: 1 + n - n/4})
		}
	}},
}

// prefixed is a key whose credential begins with a prefix.
func prefixed(id, prefix string) core.Key {
	k := newKey(home, id)
	k.Prefix = prefix
	return k
}

func wantPrefixes(t *harness, s core.Store, want ...core.PrefixCount) {
	t.Helper()
	got, err := s.Prefixes(t.Context(), home)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("prefixes are %v (%v), want %v", got, err, want)
	}
}
