package core_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
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

func withSigning(c *core.EngineConfig) { c.SigningKeys = signingKeys() }

var algorithms = map[string]core.TokenAlgorithm{"JWT": core.AlgorithmJWT, "macaroon": core.AlgorithmMacaroon}

func derive(t testing.TB, e *core.Engine, cred string, a core.TokenAlgorithm, change func(*core.DeriveRequest)) core.Derived {
	t.Helper()
	r := core.DeriveRequest{Credential: cred, Algorithm: a, Client: netip.MustParseAddr("10.1.2.3")}
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
		Issuer: core.DefaultIssuer, KeyID: key.ID, Network: key.Network, TokenID: "t", ActorID: key.ActorID,
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

func TestDerive_ATokenStandsForItsKey(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), withSigning)
	key, secret := issue(t, e, func(r *core.IssueRequest) {
		r.Scopes = []string{"orders:read", "orders:write"}
		r.Metadata = json.RawMessage(`{"plan":"gold"}`)
		r.AllowedCIDRs = prefixes("10.0.0.0/8")
	})
	for name, a := range algorithms {
		d := derive(t, e, secret, a, func(r *core.DeriveRequest) {
			r.CustomClaims = json.RawMessage(` {"tenant": "t1", "sub": "x"} `)
		})
		if life := time.Until(d.ExpireTime); life > core.DefaultTokenTTL || life < core.DefaultTokenTTL-time.Minute {
			t.Errorf("%s: lives %v", name, life)
		}
		var claims map[string]any
		if err := json.Unmarshal(d.Claims, &claims); err != nil {
			t.Fatal(err)
		}
		if claims["sub"] != key.ID || claims["tenant"] != "t1" || claims["act"] != "alice" {
			t.Errorf("%s: claims %s", name, d.Claims)
		}
		keyID, final := e.Identify(core.NetworkID{}, d.Token)
		if keyID != key.ID || final != nil {
			t.Errorf("%s: identified as %q, %+v", name, keyID, final)
		}
		v := lookup(t, e, d.Token)
		if v.Code != core.CodeValid || v.KeyID != key.ID || v.ActorID != "alice" || v.Status != core.StatusActive ||
			!slices.Equal(v.Scopes, key.Scopes) || string(v.Metadata) != `{"plan":"gold"}` ||
			!v.ExpireTime.Equal(d.ExpireTime) || !slices.Equal(v.AllowedCIDRs, key.AllowedCIDRs) {
			t.Errorf("%s: verdict %+v", name, v)
		}
		if want := map[string]core.CredentialType{"JWT": core.DerivedJWT, "macaroon": core.DerivedMacaroon}[name]; v.Type != want {
			t.Errorf("%s: type %d", name, v.Type)
		}
		narrow := derive(t, e, secret, a, func(r *core.DeriveRequest) { r.Scopes = []string{"orders:read"} })
		if v := lookup(t, e, narrow.Token); !slices.Equal(v.Scopes, []string{"orders:read"}) || v.Identity.Scopes != "orders:read" {
			t.Errorf("%s: scopes %v", name, v.Scopes)
		}
		none := derive(t, e, secret, a, func(r *core.DeriveRequest) { r.Scopes = []string{} })
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
	_, secret := issue(t, e, func(r *core.IssueRequest) {
		r.Scopes, r.TTL, r.AllowedCIDRs = []string{"orders:*"}, &hour, prefixes("10.0.0.0/8")
	})
	revoked, revokedSecret := issue(t, e, nil)
	if _, err := e.Revoke(t.Context(), core.Issued, revoked.ID, core.RevokeRequest{}); err != nil {
		t.Fatal(err)
	}
	forged := secret[:len(secret)-1] + map[bool]string{true: "2", false: "3"}[secret[len(secret)-1] != '2']
	minute := time.Minute
	token := derive(t, e, secret, core.AlgorithmJWT, func(r *core.DeriveRequest) { r.TTL = &minute }).Token
	ttl := func(d time.Duration) func(*core.DeriveRequest) { return func(r *core.DeriveRequest) { r.TTL = &d } }
	for name, tc := range map[string]struct {
		change func(*core.DeriveRequest)
		want   core.Reason
	}{
		"no credential":             {func(r *core.DeriveRequest) { r.Credential = "" }, core.CredentialRequired},
		"no text":                   {func(r *core.DeriveRequest) { r.Credential = "a\x00" }, core.InvalidKeyFormat},
		"a token":                   {func(r *core.DeriveRequest) { r.Credential = token }, core.InvalidTokenType},
		"a macaroon's form":         {func(r *core.DeriveRequest) { r.Credential = "mc_v1_AA" }, core.InvalidTokenType},
		"a wrong checksum":          {func(r *core.DeriveRequest) { r.Credential = forged }, core.ParentKeyInvalid},
		"an unknown key":            {func(r *core.DeriveRequest) { r.Credential = "sk_4242" }, core.ParentKeyInvalid},
		"the key id":                {func(r *core.DeriveRequest) { r.Credential = revoked.ID }, core.ParentKeyInvalid},
		"a revoked key":             {func(r *core.DeriveRequest) { r.Credential = revokedSecret }, core.KeyRevoked},
		"another address":           {func(r *core.DeriveRequest) { r.Client = netip.MustParseAddr("192.0.2.1") }, core.IPNotAllowed},
		"no address":                {func(r *core.DeriveRequest) { r.Client = netip.Addr{} }, core.IPNotAllowed},
		"a scope not held":          {func(r *core.DeriveRequest) { r.Scopes = []string{"admin"} }, core.Forbidden},
		"one that a wildcard holds": {func(r *core.DeriveRequest) { r.Scopes = []string{"orders:read"} }, core.Forbidden},
		"no scope token":            {func(r *core.DeriveRequest) { r.Scopes = []string{"a b"} }, core.BadRequest},
		"longer than the key":       {ttl(time.Hour + time.Second), core.BadRequest},
		"the default, too long":     {nil, core.BadRequest},
		"no time":                   {ttl(0), core.BadRequest},
		"a negative time":           {ttl(-time.Hour), core.BadRequest},
		"over the maximum":          {ttl(core.MaxTTL), core.BadRequest},
		"claims that are a list":    {func(r *core.DeriveRequest) { r.CustomClaims = json.RawMessage(`[]`) }, core.BadRequest},
		"a claim twice":             {func(r *core.DeriveRequest) { r.CustomClaims = json.RawMessage(`{"a":1,"a":2}`) }, core.BadRequest},
		"long claims": {func(r *core.DeriveRequest) {
			r.CustomClaims = json.RawMessage(`{"a":"` + strings.Repeat("x", core.MaxCustomClaims) + `"}`)
		}, core.BadRequest},
		"an unknown algorithm": {func(r *core.DeriveRequest) { r.TTL, r.Algorithm = &minute, 9 }, core.BadRequest},
	} {
		r := core.DeriveRequest{Credential: secret, Client: netip.MustParseAddr("10.1.2.3")}
		if tc.change != nil {
			tc.change(&r)
		}
		if d, err := e.Derive(t.Context(), r); core.ReasonOf(err) != tc.want || err == nil {
			t.Errorf("%s: %v, %+v, want %s", name, err, d, tc.want)
		}
	}
	_, err := unsigned.Derive(t.Context(), core.DeriveRequest{Credential: secret})
	wantReason(t, err, core.BadRequest)
}

func TestDerive_TheDefaultTTLIsWithinTheNetworksMaximum(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), func(c *core.EngineConfig) { c.MaxTTL = 10 * time.Minute })
	_, secret := issue(t, e, nil)
	d := derive(t, e, secret, core.AlgorithmMacaroon, nil)
	if life := time.Until(d.ExpireTime); life > 10*time.Minute || life < 9*time.Minute {
		t.Errorf("lives %v", life)
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
	_, err = e.Derive(t.Context(), core.DeriveRequest{Credential: secret})
	wantReason(t, err, core.KeyExpired)
	if v := lookup(t, e, signJWT(t, claimsOf(&key))); v.Code != core.CodeExpired {
		t.Errorf("a token of an expired key reads %+v", v)
	}
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
		if _, err := e.Revoke(t.Context(), core.Issued, key.ID, core.RevokeRequest{}); err != nil {
			t.Fatal(err)
		}
		check(core.CodeRevoked)
		check(core.CodeRevoked)
	}
}

func TestAttack18_ATokenOfADeletedKeyIsNoneOfTheKeyThatIsImportedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := openStore(t)
		e := newEngine(t, store, withSigning)
		const raw = "an-old-key"
		importAs := func(actor string) *core.Key {
			key, err := e.Import(t.Context(), core.ImportRequest{
				RawKey: raw, IssueRequest: core.IssueRequest{Name: "n", ActorID: actor},
			})
			if err != nil {
				t.Fatal(err)
			}
			return &key
		}
		again := func(actor string) (key *core.Key, tokens []string) {
			key = importAs("alice")
			for _, a := range algorithms {
				tokens = append(tokens, derive(t, e, raw, a, nil).Token)
			}
			if err := e.Delete(t.Context(), key.ID); err != nil {
				t.Fatal(err)
			}
			return importAs(actor), tokens
		}
		want := func(code core.Code, tokens []string) {
			t.Helper()
			for _, token := range tokens {
				if v := lookup(t, e, token); v.Code != code {
					t.Errorf("got %d for %q, want %d", v.Code, v.ActorID, code)
				}
			}
		}
		key, tokens := again("mallory") // at the same moment, for somebody else
		want(core.CodeNotFound, tokens)
		if err := e.Delete(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(core.DefaultClockSkew + 2*time.Second)
		importAs("alice") // for the same actor, later than clocks can differ
		want(core.CodeNotFound, tokens)
		for _, a := range algorithms {
			want(core.CodeValid, []string{derive(t, e, raw, a, nil).Token})
		}
	})
}

func TestToken_IsNeverMoreThanItsKeyIsNow(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), withSigning)
	hour := time.Hour
	key, _ := issue(t, e, func(r *core.IssueRequest) {
		r.Scopes, r.TTL, r.AllowedCIDRs = []string{"orders:read", "items:*"}, &hour, prefixes("10.0.0.0/8", "192.0.2.0/24")
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
		if got := policy.Judge(v, policy.Request{Now: time.Now(), Client: netip.MustParseAddr(addr)}, nil); got != core.CodeIPNotAllowed {
			t.Errorf("lists that have nothing in common allow %s: %d", addr, got)
		}
	}
}

func TestAttack17_TokensOfAnotherIssuerNetworkOrTimeAreRefusedThoughSigned(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, func(c *core.EngineConfig) {
		withSigning(c)
		c.Issuer, c.RetiredIssuers = "https://new.example", []string{"https://old.example"}
	})
	key, _ := issue(t, e, nil)
	for name, tc := range map[string]struct {
		change func(c *credential.Claims)
		want   core.Code
	}{
		"as it should be":             {func(*credential.Claims) {}, core.CodeValid},
		"a retired issuer":            {func(c *credential.Claims) { c.Issuer = "https://old.example" }, core.CodeValid},
		"another issuer":              {func(c *credential.Claims) { c.Issuer = "https://new.example.evil" }, core.CodeSignatureInvalid},
		"another network":             {func(c *credential.Claims) { c.Network = uuid.New() }, core.CodeSignatureInvalid},
		"a key id of no form":         {func(c *credential.Claims) { c.KeyID = "alice" }, core.CodeSignatureInvalid},
		"a huge exp":                  {func(c *credential.Claims) { c.ExpireTime = time.Unix(253402300799, 0) }, core.CodeSignatureInvalid},
		"expired before it was made":  {func(c *credential.Claims) { c.ExpireTime = c.IssueTime.Add(-time.Second) }, core.CodeSignatureInvalid},
		"expired within the leeway":   {func(c *credential.Claims) { c.ExpireTime = c.IssueTime; shift(c, -4*time.Minute) }, core.CodeValid},
		"expired beyond the leeway":   {func(c *credential.Claims) { shift(c, -time.Hour-6*time.Minute) }, core.CodeExpired},
		"early, within the leeway":    {func(c *credential.Claims) { shift(c, 4*time.Minute) }, core.CodeValid},
		"early, beyond the leeway":    {func(c *credential.Claims) { shift(c, 6*time.Minute) }, core.CodeSignatureInvalid},
		"not yet, though made before": {func(c *credential.Claims) { c.NotBefore = c.IssueTime.Add(10 * time.Minute) }, core.CodeSignatureInvalid},
		"made later, though valid":    {func(c *credential.Claims) { c.IssueTime = c.IssueTime.Add(10 * time.Minute) }, core.CodeSignatureInvalid},
		"a scope that is none":        {func(c *credential.Claims) { c.Scopes = []string{"a b"} }, core.CodeSignatureInvalid},
		"a range that is none":        {func(c *credential.Claims) { c.CIDRs = []string{"everywhere"} }, core.CodeSignatureInvalid},
		"an unknown key":              {func(c *credential.Claims) { c.KeyID = uuid.NewString() }, core.CodeNotFound},
	} {
		c := claimsOf(&key)
		c.Issuer = "https://new.example"
		tc.change(c)
		for _, token := range []string{signJWT(t, c), mintMacaroon(t, c)} {
			for range 2 { // the second time from memory
				if v := lookup(t, e, token); v.Code != tc.want {
					t.Errorf("%s: %+v, want code %d", name, v, tc.want)
				}
			}
		}
	}
	other := newEngine(t, store, func(c *core.EngineConfig) { c.Issuer = "https://new.example" })
	c := claimsOf(&key)
	c.Issuer = "https://new.example"
	if v := lookup(t, other, signJWT(t, c)); v.Code != core.CodeSignatureInvalid {
		t.Errorf("without signing keys a JWT reads %+v", v)
	}
}

func shift(c *credential.Claims, by time.Duration) {
	c.IssueTime, c.NotBefore, c.ExpireTime = c.IssueTime.Add(by), c.NotBefore.Add(by), c.ExpireTime.Add(by)
}

// mintMacaroon makes a macaroon of any claims, as only a holder of the secret can.
func mintMacaroon(t testing.TB, c *credential.Claims) string {
	t.Helper()
	keyring, err := credential.NewKeyring(secretA)
	if err != nil {
		t.Fatal(err)
	}
	f, err := credential.NewFormat(core.NetworkID{}, keyring, credential.Prefixes{})
	if err != nil {
		t.Fatal(err)
	}
	token, err := f.MintMacaroon(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAttack17_AHoldersCaveatsOnlyNarrow(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	_, secret := issue(t, e, func(r *core.IssueRequest) {
		r.Scopes, r.AllowedCIDRs = []string{"orders:*", "items:read"}, prefixes("10.0.0.0/8")
	})
	d := derive(t, e, secret, core.AlgorithmMacaroon, nil)
	whole := lookup(t, e, d.Token)
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	claims, _, _ := strings.Cut(string(d.Claims), "\n")
	for name, tc := range map[string]struct {
		caveats []string
		want    core.Code
		scopes  []string // nil: all
		cidrs   []netip.Prefix
	}{
		"none":                      {nil, core.CodeValid, nil, nil},
		"fewer scopes":              {[]string{"scopes=items:read"}, core.CodeValid, []string{"items:read"}, nil},
		"within a wildcard":         {[]string{"scopes=orders:read admin"}, core.CodeValid, []string{"orders:read"}, nil},
		"no scope":                  {[]string{"scopes="}, core.CodeValid, []string{}, nil},
		"all scopes":                {[]string{"scopes=*"}, core.CodeValid, nil, nil},
		"wider after narrower":      {[]string{"scopes=items:read", "scopes=*"}, core.CodeValid, []string{"items:read"}, nil},
		"one after another":         {[]string{"scopes=items:read", "scopes=orders:read"}, core.CodeValid, []string{}, nil},
		"a range":                   {[]string{"cidrs=10.1.0.0/16"}, core.CodeValid, nil, prefixes("10.1.0.0/16")},
		"a wider range":             {[]string{"cidrs=0.0.0.0/0,::/0"}, core.CodeValid, nil, nil},
		"another range":             {[]string{"cidrs=192.0.2.0/24"}, core.CodeValid, nil, []netip.Prefix{core.Nowhere}},
		"two ranges apart":          {[]string{"cidrs=10.1.0.0/16", "cidrs=10.2.0.0/16"}, core.CodeValid, nil, []netip.Prefix{core.Nowhere}},
		"a later expiry":            {[]string{"expires=" + in(100*time.Hour)}, core.CodeValid, nil, nil},
		"expired":                   {[]string{"expires=" + in(-time.Second)}, core.CodeExpired, nil, nil},
		"expired and then not":      {[]string{"expires=" + in(-time.Second), "expires=" + in(time.Hour)}, core.CodeExpired, nil, nil},
		"expired and at no time":    {[]string{"expires=" + in(-time.Second), "expires=0001-01-01T00:00:00Z"}, core.CodeExpired, nil, nil},
		"expired long ago":          {[]string{"expires=0001-01-01T00:00:00Z", "expires=" + in(time.Hour)}, core.CodeExpired, nil, nil},
		"expired before all years":  {[]string{"expires=0000-01-01T00:00:00+23:59"}, core.CodeExpired, nil, nil},
		"an unknown caveat":         {[]string{"account=42"}, core.CodeSignatureInvalid, nil, nil},
		"an empty caveat":           {[]string{""}, core.CodeSignatureInvalid, nil, nil},
		"another case":              {[]string{"Scopes=a"}, core.CodeSignatureInvalid, nil, nil},
		"a space before":            {[]string{" scopes=a"}, core.CodeSignatureInvalid, nil, nil},
		"second claims":             {[]string{"claims=" + claims}, core.CodeSignatureInvalid, nil, nil},
		"a bad time":                {[]string{"expires=tomorrow"}, core.CodeSignatureInvalid, nil, nil},
		"no time":                   {[]string{"expires="}, core.CodeSignatureInvalid, nil, nil},
		"two spaces between scopes": {[]string{"scopes=a  b"}, core.CodeSignatureInvalid, nil, nil},
		"a scope that is none":      {[]string{"scopes=a\nb"}, core.CodeSignatureInvalid, nil, nil},
		"no range":                  {[]string{"cidrs="}, core.CodeSignatureInvalid, nil, nil},
		"a range that is none":      {[]string{"cidrs=10.0.0.0/8, 10.0.0.0/9"}, core.CodeSignatureInvalid, nil, nil},
		"too many scopes":           {[]string{"scopes=" + strings.Repeat("a ", 256) + "a"}, core.CodeSignatureInvalid, nil, nil},
	} {
		token, err := credential.AppendCaveats(d.Token, tc.caveats...)
		if err != nil {
			t.Fatal(err)
		}
		v := lookup(t, e, token)
		if v.Code != tc.want {
			t.Errorf("%s: %+v, want code %d", name, v, tc.want)
		}
		if tc.want == core.CodeExpired && (v.Status != core.StatusExpired || v.ExpireTime.IsZero() ||
			v.ExpireTime.After(time.Now()) || v.ExpireTime.UTC().Year() < 1970) {
			t.Errorf("%s: %+v", name, v)
		}
		if tc.want != core.CodeValid {
			continue
		}
		if tc.scopes == nil {
			tc.scopes = whole.Scopes
		}
		if tc.cidrs == nil {
			tc.cidrs = whole.AllowedCIDRs
		}
		if !slices.Equal(v.Scopes, tc.scopes) || !slices.Equal(v.AllowedCIDRs, tc.cidrs) || v.ExpireTime.After(whole.ExpireTime) {
			t.Errorf("%s: scopes %q, ranges %v, expires %v", name, v.Scopes, v.AllowedCIDRs, v.ExpireTime)
		}
	}
}

func TestAttenuate_NarrowsOffline(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	_, secret := issue(t, e, func(r *core.IssueRequest) { r.Scopes = []string{"orders:*"} })
	d := derive(t, e, secret, core.AlgorithmMacaroon, nil)
	until := time.Now().Add(10 * time.Minute)
	token, err := core.Attenuate(d.Token, core.Narrowing{
		Expires: until, Scopes: []string{"orders:read"}, CIDRs: prefixes("192.0.2.0/24", "2001:db8::/32"),
	})
	if err != nil {
		t.Fatal(err)
	}
	v := lookup(t, e, token)
	if v.Code != core.CodeValid || !slices.Equal(v.Scopes, []string{"orders:read"}) || v.Leeway != 0 ||
		!v.ExpireTime.Equal(until.Truncate(time.Second)) || !slices.Equal(v.AllowedCIDRs, prefixes("192.0.2.0/24", "2001:db8::/32")) {
		t.Errorf("%+v", v)
	}
	for name, n := range map[string]core.Narrowing{
		"nothing":         {},
		"no scope token":  {Scopes: []string{"a b"}},
		"too many ranges": {CIDRs: slices.Repeat(prefixes("192.0.2.0/24"), 257)},
	} {
		_, err := core.Attenuate(d.Token, n)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantReason(t, err, core.BadRequest)
	}
	_, err = core.Attenuate(secret, core.Narrowing{Scopes: []string{}})
	wantReason(t, err, core.BadRequest)
}

// A token is judged by the times it names on each hit, though the verifier remembers the verdict.
func TestToken_ExpiresWhileItsVerdictIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &oneKeyStore{}
		e := newEngine(t, store, withSigning)
		store.key = core.Key{
			ID: uuid.NewString(), Kind: core.Issued, ActorID: "alice", Visibility: core.VisibilitySecret, Status: core.StatusActive,
		}
		verifier, err := verify.New(verify.Config{TTL: 10 * time.Minute}, e)
		if err != nil {
			t.Fatal(err)
		}
		defer verifier.Close()
		c := claimsOf(&store.key)
		c.ExpireTime = c.IssueTime.Add(time.Minute)
		long, err := core.Attenuate(mintMacaroon(t, claimsOf(&store.key)), core.Narrowing{Expires: c.ExpireTime})
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
			{core.DefaultClockSkew - time.Second, core.CodeValid, core.CodeExpired},
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
	positions core.Positions
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

func (s *oneKeyStore) Positions() *core.Positions { return &s.positions }

// FuzzMacaroonCaveats looks for a caveat that widens what a macaroon is good for.
func FuzzMacaroonCaveats(f *testing.F) {
	store := &oneKeyStore{key: core.Key{
		ID: uuid.NewString(), Kind: core.Issued, ActorID: "alice", Visibility: core.VisibilitySecret, Status: core.StatusActive,
		Scopes: []string{"orders:*", "items:read", "*x"}, AllowedCIDRs: prefixes("10.0.0.0/8", "2001:db8::/32"),
	}}
	e := newEngine(f, store, nil)
	whole := mintMacaroon(f, claimsOf(&store.key))
	full := lookup(f, e, whole)
	for _, s := range []string{
		"scopes=orders:read", "scopes=* orders:* items:*", "cidrs=10.1.0.0/16,::/0", "cidrs=::ffff:10.0.0.0/104",
		"expires=9999-12-31T23:59:59Z", "expires=2026-01-01T00:00:00+25:00", "claims={}", "", "scopes=",
	} {
		f.Add(s, "scopes=items:read")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		token, err := credential.AppendCaveats(whole, first, second)
		if err != nil {
			return
		}
		v := lookup(t, e, token)
		if v.Code != core.CodeValid {
			return
		}
		for _, s := range v.Scopes {
			if !slices.ContainsFunc(full.Scopes, func(held string) bool { return core.Covers(held, s) }) {
				t.Fatalf("%q and %q grant %q", first, second, s)
			}
		}
		for _, p := range v.AllowedCIDRs {
			if p != core.Nowhere && !slices.ContainsFunc(full.AllowedCIDRs, func(list netip.Prefix) bool {
				return list.Bits() <= p.Bits() && list.Contains(p.Addr())
			}) {
				t.Fatalf("%q and %q allow %s", first, second, p)
			}
		}
		if len(v.AllowedCIDRs) == 0 || v.End().After(full.End()) {
			t.Fatalf("%q and %q: %+v", first, second, v)
		}
	})
}

func TestJWKS_IsASetWithAndWithoutKeys(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*core.EngineConfig){nil, withSigning} {
		var set struct{ Keys []json.RawMessage }
		if err := json.Unmarshal(newEngine(t, openStore(t), change).JWKS(), &set); err != nil || set.Keys == nil {
			t.Errorf("%+v, %v", set, err)
		}
	}
}

// The first look-up checks the signature, all later ones remember that it was right.
func BenchmarkLookupToken(b *testing.B) {
	store := &oneKeyStore{key: core.Key{
		ID: uuid.NewString(), Kind: core.Issued, ActorID: "alice", Visibility: core.VisibilitySecret, Status: core.StatusActive,
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

func TestAttack17_AGenuineTokenDoesNotVouchForAnother(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), withSigning)
	_, secret := issue(t, e, nil)
	token := derive(t, e, secret, core.AlgorithmJWT, nil).Token
	if v := lookup(t, e, token); v.Code != core.CodeValid {
		t.Fatalf("%+v", v)
	}
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), "alice", "mallo", 1)))
	if v := lookup(t, e, strings.Join(parts, ".")); v.Code != core.CodeSignatureInvalid {
		t.Errorf("%+v", v)
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
		ID: id.String(), Kind: core.Issued, ActorID: "alice", Visibility: core.VisibilitySecret, Status: core.StatusActive,
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
