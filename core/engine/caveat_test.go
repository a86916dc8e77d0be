package engine_test

import (
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
	_, secret := issue(t, e, func(r *engine.IssueRequest) {
		r.Scopes, r.AllowedCIDRs = []string{"orders:*", "items:read"}, prefixes("10.0.0.0/8")
	})
	d := derive(t, e, secret, engine.AlgorithmMacaroon, nil)
	whole := lookup(t, e, d.Token)
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	claims, _, _ := strings.Cut(string(d.Claims), "\n")
	for name, tc := range map[string]struct {
		caveats []string
		want    core.Code
		scopes  []string // nil: all
		cidrs   []netip.Prefix
	}{
		"none":         {nil, core.CodeValid, nil, nil},
		"fewer scopes": {[]string{"scopes=items:read"}, core.CodeValid, []string{"items:read"}, nil},
		"within a wildcard": {
			[]string{"scopes=orders:read admin"}, core.CodeValid, []string{"orders:read"}, nil,
		},
		"no scope":   {[]string{"scopes="}, core.CodeValid, []string{}, nil},
		"all scopes": {[]string{"scopes=*"}, core.CodeValid, nil, nil},
		"wider after narrower": {
			[]string{"scopes=items:read", "scopes=*"}, core.CodeValid, []string{"items:read"}, nil,
		},
		"one after another": {
			[]string{"scopes=items:read", "scopes=orders:read"}, core.CodeValid, []string{}, nil,
		},
		"a range":       {[]string{"cidrs=10.1.0.0/16"}, core.CodeValid, nil, prefixes("10.1.0.0/16")},
		"a wider range": {[]string{"cidrs=0.0.0.0/0,::/0"}, core.CodeValid, nil, nil},
		"another range": {
			[]string{"cidrs=192.0.2.0/24"}, core.CodeValid, nil, []netip.Prefix{core.Nowhere},
		},
		"two ranges apart": {
			[]string{"cidrs=10.1.0.0/16", "cidrs=10.2.0.0/16"}, core.CodeValid, nil, []netip.Prefix{core.Nowhere},
		},
		"a later expiry": {[]string{"expires=" + in(100*time.Hour)}, core.CodeValid, nil, nil},
		"expired":        {[]string{"expires=" + in(-time.Second)}, core.CodeExpired, nil, nil},
		"expired and then not": {
			[]string{"expires=" + in(-time.Second), "expires=" + in(time.Hour)}, core.CodeExpired, nil, nil,
		},
		"expired and at no time": {
			[]string{"expires=" + in(-time.Second), "expires=0001-01-01T00:00:00Z"}, core.CodeExpired, nil, nil,
		},
		"expired long ago": {
			[]string{"expires=0001-01-01T00:00:00Z", "expires=" + in(time.Hour)}, core.CodeExpired, nil, nil,
		},
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
		"too many scopes": {
			[]string{"scopes=" + strings.Repeat("a ", 256) + "a"}, core.CodeSignatureInvalid, nil, nil,
		},
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
		if !slices.Equal(v.Scopes, tc.scopes) || !slices.Equal(v.AllowedCIDRs, tc.cidrs) ||
			v.ExpireTime.After(whole.ExpireTime) {
			t.Errorf("%s: scopes %q, ranges %v, expires %v", name, v.Scopes, v.AllowedCIDRs, v.ExpireTime)
		}
	}
}

func TestAttenuate_NarrowsOffline(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	_, secret := issue(t, e, func(r *engine.IssueRequest) { r.Scopes = []string{"orders:*"} })
	d := derive(t, e, secret, engine.AlgorithmMacaroon, nil)
	until := time.Now().Add(10 * time.Minute)
	token, err := engine.Attenuate(d.Token, engine.Narrowing{
		Expires: until, Scopes: []string{"orders:read"}, CIDRs: prefixes("192.0.2.0/24", "2001:db8::/32"),
	})
	if err != nil {
		t.Fatal(err)
	}
	v := lookup(t, e, token)
	if v.Code != core.CodeValid || !slices.Equal(v.Scopes, []string{"orders:read"}) || v.Leeway != 0 ||
		!v.ExpireTime.Equal(until.Truncate(time.Second)) ||
		!slices.Equal(v.AllowedCIDRs, prefixes("192.0.2.0/24", "2001:db8::/32")) {
		t.Errorf("%+v", v)
	}
	for name, n := range map[string]engine.Narrowing{
		"nothing":         {},
		"no scope token":  {Scopes: []string{"a b"}},
		"too many ranges": {CIDRs: slices.Repeat(prefixes("192.0.2.0/24"), 257)},
	} {
		_, err := engine.Attenuate(d.Token, n)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantReason(t, err, core.BadRequest)
	}
	_, err = engine.Attenuate(secret, engine.Narrowing{Scopes: []string{}})
	wantReason(t, err, core.BadRequest)
}

// FuzzMacaroonCaveats looks for a caveat that widens what a macaroon is good for.
func FuzzMacaroonCaveats(f *testing.F) {
	store := &oneKeyStore{key: core.Key{
		ID: uuid.NewString(), Kind: core.Issued, ActorID: "alice", Visibility: core.VisibilitySecret,
		Status: core.StatusActive,
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
