package upstream

import (
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/policy"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
	"github.com/talos-edge/talos-edge/storage"
)

// ownNode runs a node of ours, whose callers are at 192.0.2.1.
func ownNode(t *testing.T) (*engine.Engine, string) {
	t.Helper()
	store, err := storage.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "talos.db"), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	keys, err := engine.New(engine.Config{Keyring: testKeyring}, store)
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.New(verify.Config{}, keys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	network := adminapi.Network{Keys: keys, Verifier: v}
	return keys, serve(t, adminapi.Admin(adminapi.Options{
		Network:    func(*http.Request) (adminapi.Network, error) { return network, nil },
		ClientAddr: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") },
		Ready:      keys.Ready,
	}), "").URL
}

func TestAnEdgeOfOurOwnNode(t *testing.T) {
	t.Parallel()
	keys, address := ownNode(t)
	issue := func(cidrs ...netip.Prefix) (string, string) {
		key, secret, err := keys.Issue(t.Context(), engine.IssueRequest{
			Name: "n", ActorID: "actor", Scopes: []string{"a"}, AllowedCIDRs: cidrs,
		})
		if err != nil {
			t.Fatal(err)
		}
		return secret, key.ID
	}
	free, freeID := issue()
	bound, _ := issue(netip.MustParsePrefix("10.0.0.0/8")) // the node itself would refuse it to the edge
	forged, _ := mint(t)
	creds := []string{free, bound, forged, "an imported key that nobody knows"}
	for i := range 150 {
		creds = append(creds, "filler "+strconv.Itoa(i))
	}
	u, _ := open(t, nil, address)
	v := verifying(t, u, verify.Config{})
	if err := u.Ready(t.Context()); err != nil {
		t.Errorf("it is not ready: %v", err)
	}
	for round := range 2 {
		for i, r := range v.VerifyMany(t.Context(), core.NetworkID{}, creds, verify.Use) {
			want := core.CodeNotFound
			if i < 2 {
				want = core.CodeValid
			}
			if r.Err != nil || r.Verdict.Code != want {
				t.Errorf("round %d, credential %d: got %+v, %v", round, i, r.Verdict, r.Err)
			}
		}
	}
	if r, err := v.Verify(t.Context(), core.NetworkID{}, bound, verify.Use); err != nil ||
		decide(r.Verdict, inside) != core.CodeValid || decide(r.Verdict, outside) != core.CodeIPNotAllowed {
		t.Errorf("the bound one: got %+v, %v", r, err)
	}
	if _, err := keys.Revoke(t.Context(), core.AnyKind, freeID, engine.RevokeRequest{}); err != nil {
		t.Fatal(err)
	}
	u.Forget(core.NetworkID{}, freeID, keys.Positions().Applied())
	results := v.VerifyMany(t.Context(), core.NetworkID{}, []string{free, creds[4], creds[5]}, verify.NoCache)
	for _, r := range results[:1] {
		if r.Err != nil || r.Verdict.Code != core.CodeRevoked {
			t.Errorf("after the revocation: got %+v, %v", r.Verdict, r.Err)
		}
	}
	expect(t, v, free, core.CodeRevoked, "after the revocation")
}

func TestAnEdgeCountsTheKeysOfALineageTogether(t *testing.T) {
	t.Parallel()
	keys, address := ownNode(t)
	key, secret, err := keys.Issue(t.Context(), engine.IssueRequest{
		Name: "n", ActorID: "actor", RateLimit: core.RateLimitPolicy{Quota: 2, Window: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	u, _ := open(t, nil, address)
	v := verifying(t, u, verify.Config{})
	limiter, err := ratelimit.NewMemory(0)
	if err != nil {
		t.Fatal(err)
	}
	use := func(cred string, want core.Code) {
		t.Helper()
		r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
		if err != nil {
			t.Fatal(err)
		}
		d := policy.Decide(t.Context(), r.Verdict, policy.Request{Now: r.Now}, nil, limiter)
		if d.Code != want {
			t.Errorf("%s reads %d, want %d", r.Verdict.KeyID, d.Code, want)
		}
	}
	use(secret, core.CodeValid)
	fresh, old, next, err := keys.Rotate(t.Context(), key.ID, engine.RotateRequest{Grace: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []core.Key{old, fresh} {
		u.Forget(core.NetworkID{}, k.ID, keys.Applied())
	}
	use(next, core.CodeValid)
	use(next, core.CodeRateLimited)
	use(secret, core.CodeRateLimited)
	r, err := v.Verify(t.Context(), core.NetworkID{}, secret, verify.Use)
	if err != nil || !r.Verdict.ExpireTime.Equal(old.ExpireTime) {
		t.Errorf("the old key: %+v, %v; expected the expiry %s", r.Verdict, err, old.ExpireTime)
	}
}
