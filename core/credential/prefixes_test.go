package credential

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// pieces make prefixes that run into each other, the version and the beginning of a macaroon's Base64.
var pieces = []string{"mc", "a", "Ag", "_", "-", "v1", "_v1", "_v1_"}

// prefixesOf are the well-formed prefixes of at most n pieces.
func prefixesOf(n int) []string {
	found, last := []string{}, []string{""}
	for range n {
		var longer []string
		for _, begin := range last {
			for _, piece := range pieces {
				longer = append(longer, begin+piece)
			}
		}
		last = longer
		for _, prefix := range longer {
			if prefixPattern.MatchString(prefix) && !slices.Contains(found, prefix) {
				found = append(found, prefix)
			}
		}
	}
	return found
}

// checkRouting mints a credential under every prefix of a configuration and has the configuration route it.
func checkRouting(t *testing.T, keyring *Keyring, p Prefixes) (accepted bool) {
	t.Helper()
	f, err := NewFormat(network, keyring, p)
	if err != nil {
		return false
	}
	under := func(p Prefixes) *Format {
		p.Macaroon = cmp.Or(p.Macaroon, "zz")
		f, err := NewFormat(network, keyring, p)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for i, prefix := range slices.Concat([]string{p.Secret, p.Public}, p.RetiredSecret, p.RetiredPublic) {
		public := i == 1 || i >= 2+len(p.RetiredSecret)
		if prefix == "" {
			continue
		}
		key := mint(t, under(Prefixes{Secret: "zzz", Public: prefix}), true)
		got := f.Parse(key)
		if got.Kind != Issued || got.KeyID != keyID.String() || got.Public != public || !got.Genuine {
			t.Errorf("%+v: a key under %q is taken for %+v", p, prefix, got)
		}
	}
	for _, prefix := range append([]string{p.Macaroon}, p.RetiredMacaroon...) {
		token, err := under(Prefixes{Secret: "zzz", Macaroon: prefix}).MintMacaroon(someClaims())
		if err != nil {
			t.Fatal(err)
		}
		token, err = AppendCaveats(token, "scope = x")
		if err != nil {
			t.Errorf("a caveat for a macaroon under %q: %v", prefix, err)
			continue
		}
		claims, caveats, err := f.ParseMacaroon(token)
		if f.Parse(token).Kind != Macaroon || err != nil || claims.TokenID != someClaims().TokenID ||
			len(caveats) != 1 {
			t.Errorf("%+v: a macaroon under %q: %v", p, prefix, err)
		}
	}
	return true
}

// Whatever configuration is accepted, a credential that is made under one of its prefixes is taken for what it is.
func TestNewFormat_AcceptsOnlyPrefixesThatTellCredentialsApart(t *testing.T) {
	t.Parallel()
	keyring, err := NewKeyring(secretA)
	if err != nil {
		t.Fatal(err)
	}
	accepted, refused := 0, 0
	check := func(p Prefixes) {
		if checkRouting(t, keyring, p) {
			accepted++
		} else {
			refused++
		}
	}
	short := prefixesOf(2)
	for _, p := range short {
		for _, q := range short {
			if p == q {
				continue
			}
			check(Prefixes{Secret: p, Macaroon: q})
			check(Prefixes{Secret: p, Public: q, Macaroon: "z"})
			check(Prefixes{Secret: p, RetiredSecret: []string{q}, Macaroon: "z"})
			check(Prefixes{Secret: "z", Macaroon: p, RetiredMacaroon: []string{q}})
		}
	}
	long, random := prefixesOf(3), rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		pick := func() string { return long[random.IntN(len(long))] }
		check(Prefixes{
			Secret: pick(), RetiredSecret: []string{pick()}, Public: pick(), RetiredPublic: []string{pick()},
			Macaroon: pick(), RetiredMacaroon: []string{pick()},
		})
	}
	if accepted < 2000 || refused < 50 {
		t.Errorf("%d configurations were accepted and %d refused: nothing was tried", accepted, refused)
	}
}

func TestNewFormat_AShadowedPrefixIsAnErrorThatNamesBoth(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		prefixes            Prefixes
		shadowed, shadowing string
	}{
		"key":                    {Prefixes{Secret: "mc_v1_acme"}, "mc_v1_acme", "mc"},
		"key, the version alone": {Prefixes{Secret: "mc_v1"}, "mc_v1", "mc"},
		"retired key":            {Prefixes{RetiredSecret: []string{"mc_v1_acme"}}, "mc_v1_acme", "mc"},
		"public":                 {Prefixes{Public: "mc_v1_acme"}, "mc_v1_acme", "mc"},
		"retired public":         {Prefixes{Public: "p", RetiredPublic: []string{"mc_v1_"}}, "mc_v1_", "mc"},
		"behind a retired one":   {Prefixes{Secret: "m_v1_a", RetiredMacaroon: []string{"m"}}, "m_v1_a", "m"},
		"retired macaroon":       {Prefixes{RetiredMacaroon: []string{"mc_v1_x"}}, "mc_v1_x", "mc"},
		"macaroon, by a retired": {Prefixes{Macaroon: "m_v1_x", RetiredMacaroon: []string{"m"}}, "m_v1_x", "m"},
	} {
		_, err := NewFormat(network, nil, tc.prefixes)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, prefix := range []string{tc.shadowed, tc.shadowing} {
			if !strings.Contains(err.Error(), fmt.Sprintf("%q", prefix)) {
				t.Errorf("%s: %v does not name %q", name, err, prefix)
			}
		}
	}
}
