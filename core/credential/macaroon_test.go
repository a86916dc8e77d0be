package credential

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/macaroon.v2"
)

func mintMacaroon(t testing.TB, f *Format) string {
	t.Helper()
	token, err := f.MintMacaroon(someClaims())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// open takes the macaroon out of a credential with the default prefix.
func open(t testing.TB, token string) *macaroon.Macaroon {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "mc_v1_"))
	if err != nil {
		t.Fatal(err)
	}
	m := &macaroon.Macaroon{}
	if err := m.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	return m
}

func closed(t testing.TB, m *macaroon.Macaroon) string {
	t.Helper()
	b, err := m.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return "mc_v1_" + base64.RawURLEncoding.EncodeToString(b)
}

func TestMacaroon_SaysWhatWasMintedAndWhatHoldersAppended(t *testing.T) {
	t.Parallel()
	f := newFormat(t, Prefixes{}, secretA)
	token := mintMacaroon(t, f)
	if p := f.Parse(token); p.Kind != Macaroon {
		t.Fatalf("%q is routed as %+v", token, p)
	}
	narrower, err := AppendCaveats(token, "expires=2026-01-01T00:00:00Z", "scopes=a b")
	if err != nil {
		t.Fatal(err)
	}
	narrowest, err := AppendCaveats(narrower, "cidrs=10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string][]string{
		token:     {},
		narrower:  {"expires=2026-01-01T00:00:00Z", "scopes=a b"},
		narrowest: {"expires=2026-01-01T00:00:00Z", "scopes=a b", "cidrs=10.0.0.0/8"},
	} {
		c, caveats, err := f.ParseMacaroon(token)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(c, someClaims()) || !slices.Equal(caveats, want) {
			t.Errorf("claims %+v, caveats %q, want %q", c, caveats, want)
		}
	}
}

func TestMacaroon_VerifiesUnderRetiredSecretsAndPrefixes(t *testing.T) {
	t.Parallel()
	token := mintMacaroon(t, newFormat(t, Prefixes{Macaroon: "old"}, secretA))
	for _, tc := range []struct {
		f    *Format
		want bool
	}{
		{newFormat(t, Prefixes{RetiredMacaroon: []string{"old"}}, secretB, secretA), true},
		{newFormat(t, Prefixes{RetiredMacaroon: []string{"old"}}, secretB), false},
		{newFormat(t, Prefixes{}, secretA), false},
	} {
		if _, _, err := tc.f.ParseMacaroon(token); (err == nil) != tc.want {
			t.Errorf("%+v: %v", tc.f.macaroon, err)
		}
	}
}

func TestAppendCaveats_FindsTheMacaroonBehindAnyPrefix(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"m", "a_v1_b", "x_v1_y_v1_z"} {
		f := newFormat(t, Prefixes{Macaroon: prefix}, secretA)
		narrower, err := AppendCaveats(mintMacaroon(t, f), "scopes=a")
		if err != nil {
			t.Fatal(err)
		}
		if _, caveats, err := f.ParseMacaroon(narrower); err != nil || len(caveats) != 1 {
			t.Errorf("prefix %q: %q, %v", prefix, caveats, err)
		}
	}
	for _, s := range []string{"", "mc_v1_", "mc_v1_AgEJ", "_v1_", "no macaroon", "_v1__v1__v1_"} {
		if _, err := AppendCaveats(s, "scopes=a"); err == nil {
			t.Errorf("%q: no error", s)
		}
	}
}

func TestAttack17_AMacaroonWithAnyBitFlippedIsRefused(t *testing.T) {
	t.Parallel()
	f := newFormat(t, Prefixes{}, secretA)
	token, err := AppendCaveats(mintMacaroon(t, f), "scopes=orders:read")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "mc_v1_"))
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(raw) {
		s := "mc_v1_" + base64.RawURLEncoding.EncodeToString([]byte(flipBit(string(raw), bit)))
		if c, caveats, err := f.ParseMacaroon(s); err == nil {
			t.Errorf("with bit %d flipped it reads %+v, %q", bit, c, caveats)
		}
	}
	for bit := range 8 * len(token) {
		s := flipBit(token, bit)
		if c, caveats, err := f.ParseMacaroon(s); err == nil {
			t.Errorf("with bit %d of the text flipped it reads %+v, %q", bit, c, caveats)
		}
	}
}

func TestAttack17_MacaroonsOfAnotherFormAreRefused(t *testing.T) {
	t.Parallel()
	f := newFormat(t, Prefixes{}, secretA)
	good := mintMacaroon(t, f)
	keyring, err := NewKeyring(secretA)
	if err != nil {
		t.Fatal(err)
	}
	root := keyring.sign(nil, macaroonRoot)
	claims := claimsCaveat + payloadOf(t, someClaims())
	mint := func(root []byte, id, location string, version macaroon.Version, caveats ...string) string {
		m, err := macaroon.New(root, []byte(id), location, version)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range caveats {
			if err := m.AddFirstPartyCaveat([]byte(c)); err != nil {
				t.Fatal(err)
			}
		}
		return closed(t, m)
	}
	third := open(t, good)
	if err := third.AddThirdPartyCaveat([]byte("key"), []byte("id"), "https://evil.example"); err != nil {
		t.Fatal(err)
	}
	moved := open(t, good)
	moved.SetLocation("https://evil.example")
	iss := someClaims().Issuer
	for name, token := range map[string]string{
		"another root key":         mint([]byte(secretA), "token-1", iss, macaroon.V2, claims),
		"no caveat":                mint(root, "token-1", iss, macaroon.V2),
		"no claims":                mint(root, "token-1", iss, macaroon.V2, "scopes=a"),
		"claims not first":         mint(root, "token-1", iss, macaroon.V2, "scopes=a", claims),
		"broken claims":            mint(root, "token-1", iss, macaroon.V2, claims+"}"),
		"claims of null":           mint(root, "token-1", "", macaroon.V2, claimsCaveat+"null"),
		"another identifier":       mint(root, "token-2", iss, macaroon.V2, claims),
		"V1":                       mint(root, "token-1", iss, macaroon.V1, claims),
		"another location":         closed(t, moved),
		"a third party's caveat":   closed(t, third),
		"something behind":         good + "AAAA",
		"a line break":             good[:40] + "\n" + good[40:],
		"padding":                  good + "=",
		"nothing":                  "mc_v1_",
		"the prefix in other case": "MC" + good[2:],
		"the JSON form":            "mc_v1_" + segment(`{"i":"token-1","s64":"AA"}`),
		"thousands of caveats": mint(root, "token-1", iss, macaroon.V2,
			append([]string{claims}, slices.Repeat([]string{""}, 5000)...)...),
		"one caveat more than 64": mint(root, "token-1", iss, macaroon.V2,
			append([]string{claims}, slices.Repeat([]string{"scopes=a"}, MaxCaveats)...)...),
		"a caveat cut off the good": strings.TrimSuffix(good, good[len(good)-20:]),
	} {
		if c, caveats, err := f.ParseMacaroon(token); err == nil {
			t.Errorf("%s: accepted as %+v, %q", name, c, caveats)
		}
	}
	if _, _, err := f.ParseMacaroon(mint(root, "token-1", iss, macaroon.V2, claims)); err != nil {
		t.Errorf("the good one that the bad ones are made of: %v", err)
	}
	most := mint(root, "token-1", iss, macaroon.V2,
		append([]string{claims}, slices.Repeat([]string{"scopes=a"}, MaxCaveats-1)...)...)
	if _, caveats, err := f.ParseMacaroon(most); err != nil || len(caveats) != MaxCaveats-1 {
		t.Errorf("64 caveats: %v", err)
	}
	if _, err := AppendCaveats(most, "scopes=a"); err == nil {
		t.Error("a 65th caveat was appended")
	}
	if _, err := AppendCaveats(good, "scopes="+strings.Repeat("a", MaxLength)); err == nil {
		t.Error("a macaroon longer than a credential was made")
	}
}

// FuzzParseMacaroon looks for a macaroon that verifies and was not minted, or that lost a caveat.
func FuzzParseMacaroon(f *testing.F) {
	format := newFormat(f, Prefixes{}, secretA, secretB)
	good := mintMacaroon(f, format)
	narrower, err := AppendCaveats(good, "scopes=a")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, "scopes=a")
	f.Add(narrower, "expires=2026-01-01T00:00:00Z")
	f.Add("mc_v1_AgEJ", "claims={}")
	f.Add("mc_v1_", "")
	f.Fuzz(func(t *testing.T, token, caveat string) {
		if _, caveats, err := format.ParseMacaroon(token); err == nil {
			// Only what begins with a minted chain can be right; a fuzzer cannot make a signature.
			c, _, _ := format.ParseMacaroon(good)
			got, _, _ := format.ParseMacaroon(token)
			if !reflect.DeepEqual(got, c) {
				t.Fatalf("%q verifies as %+v", token, got)
			}
			if keyID, _ := format.Claimed(token); keyID != got.KeyID {
				t.Fatalf("%q claims the key %q", token, keyID)
			}
			if again, err := AppendCaveats(token, caveat); err == nil {
				_, more, err := format.ParseMacaroon(again)
				if err != nil || !slices.Equal(more, append(caveats, caveat)) {
					t.Fatalf("%q after %q: %q, %v", caveat, caveats, more, err)
				}
			}
		}
		appended, err := AppendCaveats(good, caveat)
		if err != nil {
			return
		}
		if _, caveats, err := format.ParseMacaroon(appended); err != nil || len(caveats) != 1 || caveats[0] != caveat {
			t.Fatalf("%q: %q, %v", caveat, caveats, err)
		}
	})
}

func BenchmarkParseMacaroon(b *testing.B) {
	f := newFormat(b, Prefixes{}, secretA)
	for _, n := range []int{0, 3} {
		token, err := AppendCaveats(mintMacaroon(b, f), slices.Repeat([]string{"scopes=orders:read"}, n)...)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("caveats=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := f.ParseMacaroon(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
