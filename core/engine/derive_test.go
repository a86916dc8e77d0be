package engine_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
)

func TestDerive_ATokenStandsForItsKey(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), withSigning)
	key, secret := issue(t, e, func(r *engine.IssueRequest) {
		r.Scopes = []string{"orders:read", "orders:write"}
		r.Metadata = json.RawMessage(`{"plan":"gold"}`)
		r.AllowedCIDRs = prefixes("10.0.0.0/8")
	})
	for name, a := range algorithms {
		d := derive(t, e, secret, a, func(r *engine.DeriveRequest) {
			r.CustomClaims = json.RawMessage(` {"tenant": "t1", "sub": "x"} `)
		})
		ttl := time.Until(d.ExpireTime)
		if ttl > engine.DefaultTokenTTL || ttl < engine.DefaultTokenTTL-time.Minute {
			t.Errorf("%s: expires in %v", name, ttl)
		}
		var claims map[string]any
		if err := json.Unmarshal(d.Claims, &claims); err != nil {
			t.Fatal(err)
		}
		if claims["sub"] != key.ID || claims["tenant"] != "t1" || claims["act"] != "alice" {
			t.Errorf("%s: claims %s", name, d.Claims)
		}
		q, final := e.Prepare(core.NetworkID{}, d.Token)
		if q.KeyID != key.ID || final != nil {
			t.Errorf("%s: identified as %q, %+v", name, q.KeyID, final)
		}
		v := lookup(t, e, d.Token)
		if v.Code != core.CodeValid || v.KeyID != key.ID || v.ActorID != "alice" || v.Status != core.StatusActive ||
			!slices.Equal(v.Scopes, key.Scopes) || string(v.Metadata) != `{"plan":"gold"}` ||
			!v.ExpireTime.Equal(d.ExpireTime) || !slices.Equal(v.AllowedCIDRs, key.AllowedCIDRs) {
			t.Errorf("%s: verdict %+v", name, v)
		}
		types := map[string]core.CredentialType{"JWT": core.DerivedJWT, "macaroon": core.DerivedMacaroon}
		if want := types[name]; v.Type != want {
			t.Errorf("%s: type %d", name, v.Type)
		}
		narrow := derive(t, e, secret, a, func(r *engine.DeriveRequest) { r.Scopes = []string{"orders:read"} })
		v = lookup(t, e, narrow.Token)
		if !slices.Equal(v.Scopes, []string{"orders:read"}) || v.Identity.Scopes != "orders:read" {
			t.Errorf("%s: scopes %v", name, v.Scopes)
		}
		none := derive(t, e, secret, a, func(r *engine.DeriveRequest) { r.Scopes = []string{} })
		if v := lookup(t, e, none.Token); v.Code != core.CodeValid || len(v.Scopes) != 0 {
			t.Errorf("%s: a token without scopes reads %+v", name, v)
		}
	}
}

func TestDerive_RefusesWithTheContractsReasons(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), withSigning)
	unsigned := newEngine(t, openStore(t), nil)
	hour := time.Hour
	_, secret := issue(t, e, func(r *engine.IssueRequest) {
		r.Scopes, r.TTL, r.AllowedCIDRs = []string{"orders:*"}, &hour, prefixes("10.0.0.0/8")
	})
	revoked, revokedSecret := issue(t, e, nil)
	if _, err := e.Revoke(t.Context(), core.Issued, revoked.ID, engine.RevokeRequest{}); err != nil {
		t.Fatal(err)
	}
	forged := secret[:len(secret)-1] + map[bool]string{true: "2", false: "3"}[secret[len(secret)-1] != '2']
	minute := time.Minute
	token := derive(t, e, secret, engine.AlgorithmJWT, func(r *engine.DeriveRequest) { r.TTL = &minute }).Token
	ttl := func(d time.Duration) func(*engine.DeriveRequest) { return func(r *engine.DeriveRequest) { r.TTL = &d } }
	for name, tc := range map[string]struct {
		change func(*engine.DeriveRequest)
		want   core.Reason
	}{
		"no credential": {func(r *engine.DeriveRequest) { r.Credential = "" }, core.CredentialRequired},
		"no text":       {func(r *engine.DeriveRequest) { r.Credential = "a\x00" }, core.InvalidKeyFormat},
		"a token":       {func(r *engine.DeriveRequest) { r.Credential = token }, core.InvalidTokenType},
		"a macaroon's form": {
			func(r *engine.DeriveRequest) { r.Credential = "mc_v1_AA" }, core.InvalidTokenType,
		},
		"a wrong checksum": {func(r *engine.DeriveRequest) { r.Credential = forged }, core.ParentKeyInvalid},
		"an unknown key": {
			func(r *engine.DeriveRequest) { r.Credential = "sk_4242" }, core.ParentKeyInvalid,
		},
		"the key id": {
			func(r *engine.DeriveRequest) { r.Credential = revoked.ID }, core.ParentKeyInvalid,
		},
		"a revoked key": {func(r *engine.DeriveRequest) { r.Credential = revokedSecret }, core.KeyRevoked},
		"another address": {
			func(r *engine.DeriveRequest) { r.Client = netip.MustParseAddr("192.0.2.1") }, core.IPNotAllowed,
		},
		"no address":       {func(r *engine.DeriveRequest) { r.Client = netip.Addr{} }, core.IPNotAllowed},
		"a scope not held": {func(r *engine.DeriveRequest) { r.Scopes = []string{"admin"} }, core.Forbidden},
		"one that a wildcard holds": {
			func(r *engine.DeriveRequest) { r.Scopes = []string{"orders:read"} }, core.Forbidden,
		},
		"no scope token":        {func(r *engine.DeriveRequest) { r.Scopes = []string{"a b"} }, core.BadRequest},
		"longer than the key":   {ttl(time.Hour + time.Second), core.BadRequest},
		"the default, too long": {nil, core.BadRequest},
		"no time":               {ttl(0), core.BadRequest},
		"a negative time":       {ttl(-time.Hour), core.BadRequest},
		"over the maximum":      {ttl(core.MaxTTL), core.BadRequest},
		"claims that are a list": {
			func(r *engine.DeriveRequest) { r.CustomClaims = json.RawMessage(`[]`) }, core.BadRequest,
		},
		"a claim twice": {
			func(r *engine.DeriveRequest) { r.CustomClaims = json.RawMessage(`{"a":1,"a":2}`) }, core.BadRequest,
		},
		"long claims": {func(r *engine.DeriveRequest) {
			r.CustomClaims = json.RawMessage(`{"a":"` + strings.Repeat("x", engine.MaxCustomClaims) + `"}`)
		}, core.BadRequest},
		"an unknown algorithm": {func(r *engine.DeriveRequest) { r.TTL, r.Algorithm = &minute, 9 }, core.BadRequest},
	} {
		r := engine.DeriveRequest{Credential: secret, Client: netip.MustParseAddr("10.1.2.3")}
		if tc.change != nil {
			tc.change(&r)
		}
		if d, err := e.Derive(t.Context(), r); core.ReasonOf(err) != tc.want || err == nil {
			t.Errorf("%s: %v, %+v, want %s", name, err, d, tc.want)
		}
	}
	_, err := unsigned.Derive(t.Context(), engine.DeriveRequest{Credential: secret})
	wantReason(t, err, core.BadRequest)
}

func TestDerive_TheDefaultTTLIsWithinTheNetworksMaximum(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), func(c *engine.Config) { c.MaxTTL = 10 * time.Minute })
	_, secret := issue(t, e, nil)
	d := derive(t, e, secret, engine.AlgorithmMacaroon, nil)
	if ttl := time.Until(d.ExpireTime); ttl > 10*time.Minute || ttl < 9*time.Minute {
		t.Errorf("expires in %v", ttl)
	}
}

func TestDerive_AnExpiredKeyHasNoTokens(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, withSigning)
	keyring, err := credential.NewKeyring(secretA)
	if err != nil {
		t.Fatal(err)
	}
	format, err := credential.NewFormat(core.NetworkID{}, keyring, credential.Prefixes{})
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.New()
	past := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
	secret, err := format.Mint(id, past, false)
	if err != nil {
		t.Fatal(err)
	}
	key := core.Key{
		ID: id.String(), Kind: core.Issued, Name: "n", ActorID: "alice", Visibility: core.VisibilitySecret,
		Status: core.StatusActive, CreateTime: past, UpdateTime: past, ExpireTime: past.Add(time.Minute),
	}
	if _, _, err := store.Create(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	_, err = e.Derive(t.Context(), engine.DeriveRequest{Credential: secret})
	wantReason(t, err, core.KeyExpired)
	if v := lookup(t, e, signJWT(t, claimsOf(&key))); v.Code != core.CodeExpired {
		t.Errorf("a token of an expired key reads %+v", v)
	}
}

func TestJWKS_IsASetWithAndWithoutKeys(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*engine.Config){nil, withSigning} {
		var set struct{ Keys []json.RawMessage }
		if err := json.Unmarshal(newEngine(t, openStore(t), change).JWKS(), &set); err != nil || set.Keys == nil {
			t.Errorf("%+v, %v", set, err)
		}
	}
}

func BenchmarkDerive(b *testing.B) {
	keyring, err := credential.NewKeyring(secretA)
	if err != nil {
		b.Fatal(err)
	}
	format, err := credential.NewFormat(core.NetworkID{}, keyring, credential.Prefixes{})
	if err != nil {
		b.Fatal(err)
	}
	id := uuid.New()
	store := &oneKeyStore{key: core.Key{
		ID: id.String(), Kind: core.Issued, ActorID: "alice", Visibility: core.VisibilitySecret,
		Status: core.StatusActive,
	}}
	secret, err := format.Mint(id, time.Now(), false)
	if err != nil {
		b.Fatal(err)
	}
	e := newEngine(b, store, withSigning)
	for name, a := range algorithms {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				derive(b, e, secret, a, nil)
			}
		})
	}
}
