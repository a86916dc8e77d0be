package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
)

func TestEachIssuedKeyHasThePrefixOfItsCredential(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), func(c *engine.Config) {
		c.Prefixes = credential.Prefixes{Secret: "acme", Public: "acme_pub"}
	})
	secretKey, _, err := e.Issue(t.Context(), engine.IssueRequest{Name: "n", ActorID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	public, cred, err := e.Issue(t.Context(),
		engine.IssueRequest{Name: "n", ActorID: "a", Visibility: core.VisibilityPublic})
	if err != nil {
		t.Fatal(err)
	}
	imported, err := e.Import(t.Context(), engine.ImportRequest{
		RawKey: "acme_from_elsewhere", IssueRequest: engine.IssueRequest{Name: "n", ActorID: "a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if secretKey.Prefix != "acme" || public.Prefix != "acme_pub" || !strings.HasPrefix(cred, "acme_pub_v1_") ||
		imported.Prefix != "" {
		t.Errorf("prefixes %q, %q and %q", secretKey.Prefix, public.Prefix, imported.Prefix)
	}
	fresh, _, cred, err := e.Rotate(t.Context(), public.ID, engine.RotateRequest{Visibility: core.VisibilitySecret})
	if err != nil || fresh.Prefix != "acme" || !strings.HasPrefix(cred, "acme_v1_") {
		t.Errorf("after the rotation: %q (%v)", fresh.Prefix, err)
	}
}

func TestKeysWhosePrefixIsNotConfiguredAreCounted(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	with := func(p credential.Prefixes) *engine.Engine {
		return newEngine(t, store, func(c *engine.Config) { c.Prefixes = p })
	}
	old := with(credential.Prefixes{Secret: "acme", Public: "acme_pub"})
	var ids []string
	for _, v := range []core.Visibility{core.VisibilitySecret, core.VisibilitySecret, core.VisibilityPublic} {
		k, _, err := old.Issue(t.Context(), engine.IssueRequest{Name: "n", ActorID: "a", Visibility: v})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, k.ID)
	}
	want := func(p credential.Prefixes, want ...core.PrefixCount) {
		t.Helper()
		got, err := with(p).UnknownPrefixes(t.Context())
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%+v: got %v (%v), want %v", p, got, err, want)
		}
	}
	acme, acmePub := core.PrefixCount{Prefix: "acme", Keys: 2}, core.PrefixCount{Prefix: "acme_pub", Keys: 1}
	want(credential.Prefixes{Secret: "acme", Public: "acme_pub"})
	want(credential.Prefixes{}, acme, acmePub)
	want(credential.Prefixes{Secret: "acm"}, acme, acmePub)
	want(credential.Prefixes{RetiredSecret: []string{"acme"}}, acmePub)
	want(credential.Prefixes{RetiredSecret: []string{"acme", "acme_pub"}})
	want(credential.Prefixes{Public: "p", RetiredPublic: []string{"acme_pub"}}, acme)
	if _, err := old.Revoke(t.Context(), core.Issued, ids[0], engine.RevokeRequest{}); err != nil {
		t.Fatal(err)
	}
	want(credential.Prefixes{Public: "acme_pub"}, core.PrefixCount{Prefix: "acme", Keys: 1})
}
