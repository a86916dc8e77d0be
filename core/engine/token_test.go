package engine_test

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/core/policy"
	"github.com/talos-edge/talos-edge/core/verify"
)

// signingKeys is one set for all tests that need no other.
var signingKeys = sync.OnceValue(func() *credential.SigningKeys {
	set, err := credential.GenerateSigningKeys()
	if err != nil {
		panic(err)
	}
	k, err := credential.ParseSigningKeys(set, "")
	if err != nil {
		panic(err)
	}
	return k
})

func withSigning(c *engine.Config) { c.SigningKeys = signingKeys() }

var algorithms = map[string]engine.TokenAlgorithm{"JWT": engine.AlgorithmJWT, "macaroon": engine.AlgorithmMacaroon}

func derive(
	t testing.TB, e *engine.Engine, cred string, a engine.TokenAlgorithm, change func(*engine.DeriveRequest),
) engine.Derived {
	t.Helper()
	r := engine.DeriveRequest{Credential: cred, Algorithm: a, Client: netip.MustParseAddr("10.1.2.3")}
	if change != nil {
		change(&r)
	}
	d, err := e.Derive(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// claimsOf is what a good token of a key says, for tests that mint tokens of their own.
func claimsOf(key *core.Key) *credential.Claims {
	at := time.Now().UTC().Truncate(time.Second)
	return &credential.Claims{
		Issuer: engine.DefaultIssuer, KeyID: key.ID, Network: key.Network, TokenID: "t", ActorID: key.ActorID,
		IssueTime: at, NotBefore: at, ExpireTime: at.Add(time.Hour), Scopes: key.Scopes,
	}
}

func signJWT(t testing.TB, c *credential.Claims) string {
	t.Helper()
	token, err := signingKeys().SignJWT(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func prefixes(list ...string) []netip.Prefix {
	p, err := core.ParseCIDRs(list)
	if err != nil {
		panic(err)
	}
	return p
}

func TestDerive_ATokenOfARevokedKeyReadsRevokedAtOnce(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), withSigning)
	verifier, err := verify.New(verify.Config{}, e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	for name, a := range algorithms {
		key, secret := issue(t, e, nil)
		token := derive(t, e, secret, a, nil).Token
		check := func(want core.Code) {
			t.Helper()
			r, err := verifier.Verify(t.Context(), core.NetworkID{}, token, verify.Use)
			if err != nil || r.Verdict.Code != want {
				t.Errorf("%s: %+v, %v, want code %d", name, r.Verdict, err, want)
			}
		}
		check(core.CodeValid)
		check(core.CodeValid)
		if _, err := e.Revoke(t.Context(), core.Issued, key.ID, engine.RevokeRequest{}); err != nil {
			t.Fatal(err)
		}
		check(core.CodeRevoked)
		check(core.CodeRevoked)
	}
}

// TestToken_WithoutTheKeysPositionIsOlderThanNoImport is about tokens of builds that did not write it.
func TestToken_WithoutTheKeysPositionIsOlderThanNoImport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, openStore(t), withSigning)
		key, err := e.Import(t.Context(), engine.ImportRequest{
			RawKey: "raw", IssueRequest: engine.IssueRequest{Name: "n", ActorID: "alice"},
		})
		if err != nil {
			t.Fatal(err)
		}
		for off, code := range map[time.Duration]core.Code{
			-time.Second: core.CodeNotFound, 0: core.CodeValid, time.Second: core.CodeValid,
		} {
			c := claimsOf(&key)
			c.TokenID, c.IssueTime = uuid.NewString(), key.CreateTime.Add(off)
			if v := lookup(t, e, signJWT(t, c)); v.Code != code {
				t.Errorf("issued %s after the import: got %d, want %d", off, v.Code, code)
			}
		}
	})
}

func TestToken_MayBeOlderThanItsIssuedKeyByAClockAhead(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), withSigning)
	issued, _ := issue(t, e, nil)
	imported, err := e.Import(t.Context(), engine.ImportRequest{
		RawKey: "raw", IssueRequest: engine.IssueRequest{Name: "n", ActorID: "alice"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for code, key := range map[core.Code]*core.Key{core.CodeValid: &issued, core.CodeNotFound: &imported} {
		c := claimsOf(key)
		c.IssueTime = c.IssueTime.Add(-time.Hour)
		if v := lookup(t, e, signJWT(t, c)); v.Code != code {
			t.Errorf("key %s: got %d, want %d", key.ID, v.Code, code)
		}
	}
}

func TestToken_IsNeverMoreThanItsKeyIsNow(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), withSigning)
	hour := time.Hour
	key, _ := issue(t, e, func(r *engine.IssueRequest) {
		r.Scopes, r.TTL = []string{"orders:read", "items:*"}, &hour
		r.AllowedCIDRs = prefixes("10.0.0.0/8", "192.0.2.0/24")
	})
	c := claimsOf(&key)
	c.Scopes = []string{"admin", "orders:*", "items:read", "*"}
	c.ExpireTime = c.IssueTime.Add(2 * time.Hour)
	c.CIDRs = []string{"10.1.0.0/16", "198.51.100.0/24", "0.0.0.0/1"}
	v := lookup(t, e, signJWT(t, c))
	if v.Code != core.CodeValid || !slices.Equal(v.Scopes, []string{"orders:read", "items:read", "items:*"}) ||
		!v.ExpireTime.Equal(key.ExpireTime) || v.Leeway != 0 ||
		!slices.Equal(v.AllowedCIDRs, prefixes("10.1.0.0/16", "10.0.0.0/8")) {
		t.Errorf("%v, %+v", v.Scopes, v)
	}
	c.CIDRs = []string{"203.0.113.0/24"}
	v = lookup(t, e, signJWT(t, c))
	for _, addr := range []string{"203.0.113.1", "10.1.2.3", "255.255.255.255", "::ffff:255.255.255.255"} {
		r := policy.Request{Now: time.Now(), Client: netip.MustParseAddr(addr)}
		if got := policy.Judge(v, r, nil); got != core.CodeIPNotAllowed {
			t.Errorf("lists that have nothing in common allow %s: %d", addr, got)
		}
	}
}

// A token is judged by the times it names on each hit, though the verifier remembers the verdict.
func TestToken_ExpiresWhileItsVerdictIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &oneKeyStore{}
		e := newEngine(t, store, withSigning)
		store.key = core.Key{
			ID: uuid.NewString(), Kind: core.Issued, ActorID: "alice", Visibility: core.VisibilitySecret,
			Status: core.StatusActive,
		}
		verifier, err := verify.New(verify.Config{TTL: 10 * time.Minute}, e)
		if err != nil {
			t.Fatal(err)
		}
		defer verifier.Close()
		c := claimsOf(&store.key)
		c.ExpireTime = c.IssueTime.Add(time.Minute)
		long, err := engine.Attenuate(mintMacaroon(t, claimsOf(&store.key)), engine.Narrowing{Expires: c.ExpireTime})
		if err != nil {
			t.Fatal(err)
		}
		judge := func(token string) core.Code {
			r, err := verifier.Verify(t.Context(), core.NetworkID{}, token, verify.Use)
			if err != nil {
				t.Fatal(err)
			}
			return policy.Judge(r.Verdict, policy.Request{Now: r.Now}, nil)
		}
		token := signJWT(t, c)
		for _, step := range []struct {
			wait              time.Duration
			leeway, attenuate core.Code
		}{
			{0, core.CodeValid, core.CodeValid},
			{59 * time.Second, core.CodeValid, core.CodeValid},
			{time.Second, core.CodeValid, core.CodeExpired}, // a holder's caveat has no leeway
			{engine.DefaultClockSkew - time.Second, core.CodeValid, core.CodeExpired},
			{time.Second, core.CodeExpired, core.CodeExpired},
		} {
			time.Sleep(step.wait)
			if got := judge(token); got != step.leeway {
				t.Errorf("after %v the token reads %d, want %d", step.wait, got, step.leeway)
			}
			if got := judge(long); got != step.attenuate {
				t.Errorf("after %v the narrowed one reads %d, want %d", step.wait, got, step.attenuate)
			}
		}
	})
}

// oneKeyStore has one key and no goroutines. Only what look-ups call is there.
type oneKeyStore struct {
	core.Store
	key       core.Key
	positions feed.Positions
}

func (s *oneKeyStore) Get(_ context.Context, _ core.NetworkID, keyID string) (core.Key, error) {
	if keyID != s.key.ID {
		return core.Key{}, core.NewError(core.KeyNotFound, "no such key")
	}
	return s.key, nil
}

func (s *oneKeyStore) GetMany(ctx context.Context, n core.NetworkID, keyIDs []string) (map[string]core.Key, error) {
	found := map[string]core.Key{}
	for _, id := range keyIDs {
		if key, err := s.Get(ctx, n, id); err == nil {
			found[id] = key
		}
	}
	return found, nil
}

func (s *oneKeyStore) Positions() *feed.Positions { return &s.positions }

// The first look-up checks the signature, all later ones remember that it was right.
func BenchmarkLookupToken(b *testing.B) {
	store := &oneKeyStore{key: core.Key{
		ID: uuid.NewString(), Kind: core.Issued, ActorID: "alice", Visibility: core.VisibilitySecret,
		Status: core.StatusActive,
	}}
	e := newEngine(b, store, withSigning)
	for name, token := range map[string]string{
		"jwt": signJWT(b, claimsOf(&store.key)), "macaroon": mintMacaroon(b, claimsOf(&store.key)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if v := lookup(b, e, token); v.Code != core.CodeValid {
					b.Fatal(v.Code)
				}
			}
		})
	}
}
