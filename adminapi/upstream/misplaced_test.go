package upstream

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/mr-tron/base58"
	"gopkg.in/macaroon.v2"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/verify"
)

// derived makes a macaroon of a key that ends at a time, and has what holders appended. Whoever says that it is genuine
// decides: the stand-in checks no signature.
func derived(tb testing.TB, keyID string, expires time.Time, caveats ...string) string {
	tb.Helper()
	f, err := credential.NewFormat(core.NetworkID{}, testKeyring, credential.Prefixes{})
	if err != nil {
		tb.Fatal(err)
	}
	token, err := f.MintMacaroon(&credential.Claims{
		Issuer: "http://localhost", KeyID: keyID, TokenID: uuid.NewString(), ActorID: "a",
		IssueTime: expires.Add(-time.Hour), NotBefore: expires.Add(-time.Hour), ExpireTime: expires,
	})
	if err == nil && len(caveats) > 0 {
		token, err = credential.AppendCaveats(token, caveats...)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// forgeMacaroon makes a macaroon under another server's key, with any first caveats.
func forgeMacaroon(tb testing.TB, caveats ...string) string {
	tb.Helper()
	m, err := macaroon.New([]byte("another server's key"), []byte(uuid.NewString()), "http://localhost", macaroon.V2)
	if err != nil {
		tb.Fatal(err)
	}
	for _, c := range caveats {
		if err := m.AddFirstPartyCaveat([]byte(c)); err != nil {
			tb.Fatal(err)
		}
	}
	b, err := m.MarshalBinary()
	if err != nil {
		tb.Fatal(err)
	}
	return "mc_v1_" + base64.RawURLEncoding.EncodeToString(b)
}

// spoil gives a credential another end, which is its signature or its checksum.
func spoil(tb testing.TB, cred string) string {
	tb.Helper()
	if at := strings.LastIndexByte(cred, '_'); strings.HasPrefix(cred, credential.DefaultPrefix) {
		return cred[:at+1] + base58.Encode([]byte(strings.Repeat("x", 32)))
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(cred, "mc_v1_"))
	if err != nil {
		tb.Fatal(err)
	}
	b[len(b)-1] ^= 1
	return "mc_v1_" + base64.RawURLEncoding.EncodeToString(b)
}

// An upstream that exchanges the results of two credentials in one reply gives the holder of an invalid one the
// identity of a valid one, unless the answers can be told apart by what the credentials say of themselves.
func TestAttack04_AnExchangedResultLendsNoTokenAnIdentity(t *testing.T) {
	t.Parallel()
	ends := time.Now().Add(time.Hour).Truncate(time.Second)
	claims := func(keyID string, expires time.Time) string {
		return fmt.Sprintf(`claims={"sub":%q,"exp":%d}`, keyID, expires.Unix())
	}
	key, keyID := mint(t)
	_, other := mint(t)
	token, until := derived(t, keyID, ends), "expires="+ends.Format(time.RFC3339)
	for name, tc := range map[string]struct{ genuine, invalid string }{
		"two macaroons of two keys": {token, forgeMacaroon(t, claims(other, ends))},
		"two macaroons of one key": {
			token,
			forgeMacaroon(t, claims(keyID, ends.Add(time.Minute))),
		},
		"a macaroon and the same with another signature": {token, spoil(t, token)},
		"a macaroon and one that a holder gave another subject": {
			token, derived(t, other, ends, claims(keyID, ends)),
		},
		"a narrowed macaroon and a narrower one": {
			derived(t, keyID, ends.Add(time.Hour), until),
			forgeMacaroon(t, claims(keyID, ends.Add(2*time.Hour)), until),
		},
		"a macaroon without claims": {token, forgeMacaroon(t, "scopes=a")},
		"a macaroon with two subjects": {
			token,
			forgeMacaroon(t, fmt.Sprintf(`claims={"sub":"x","sub":%q}`, keyID)),
		},
		"what only looks like a macaroon":           {token, "mc_v1_AAAA"},
		"a macaroon and a JWT of another key":       {token, jwt(other)},
		"a macaroon and a JWT of its key":           {token, jwt(keyID)},
		"a JWT and a macaroon of another key":       {jwt(keyID), forgeMacaroon(t, claims(other, ends))},
		"two JWTs of one key":                       {jwt(keyID), strings.TrimSuffix(jwt(keyID), "c2ln") + "b3Ro"},
		"what only looks like a JWT":                {jwt(keyID), "eyJhbGciOiJFZERTQSJ9.e30.c2ln"},
		"a key and a macaroon of another":           {key, forgeMacaroon(t, claims(other, ends))},
		"a key and a macaroon of it":                {key, forgeMacaroon(t, claims(keyID, ends))},
		"a key and what only looks like a macaroon": {key, "mc_v1_AAAA"},
		"a key and the same with another checksum":  {key, spoil(t, key)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn()
			s.edge = true
			s.change = func(r []map[string]any) []map[string]any { slices.Reverse(r); return r }
			result := good(keyID)
			result["expire_time"] = ends.UTC().Format(time.RFC3339)
			s.results[tc.genuine] = result
			s.results[tc.invalid] = bad(client.VerificationErrorSignatureInvalid)
			u, _ := open(t, nil, serve(t, s, "").URL)
			for _, order := range [][]string{{tc.genuine, tc.invalid}, {tc.invalid, tc.genuine}} {
				results, err := verifyMany(t, u, order)
				if err != nil {
					t.Fatal(err)
				}
				for i, r := range results {
					want := core.CodeSignatureInvalid
					if order[i] == tc.genuine {
						want = core.CodeValid
					}
					if r.Err != nil || r.Verdict.Code != want || (r.Verdict.ActorID != "") != (want == core.CodeValid) {
						t.Errorf("got %+v, %v, want code %d", r.Verdict, r.Err, want)
					}
				}
			}
		})
	}
}

// A batch that keeps apart what could be mistaken for each other still takes the rest together.
func TestTokensOfOneKeyGoTogetherWhileTheirEndsTellThemApart(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.edge = true
	_, keyID := s.add(t, nil)
	ends := time.Now().Add(time.Hour).Truncate(time.Second)
	add := func(cred, keyID string, expires time.Time) string {
		s.results[cred] = good(keyID)
		s.results[cred]["expire_time"] = expires.UTC().Format(time.RFC3339)
		return cred
	}
	_, opaqueOf := mint(t)
	creds := make([]string, 0, 32)
	for i := range 30 {
		expires := ends.Add(time.Duration(i) * time.Second)
		creds = append(creds, add(derived(t, keyID, expires), keyID, expires))
	}
	creds = append(creds,
		add(derived(t, keyID, ends), keyID, ends),           // ends like the first one
		add(forgeMacaroon(t, "of another"), opaqueOf, ends), // opaque
	)
	u, _ := open(t, func(c *Config) { c.MaxInFlight = 1 }, serve(t, s, "").URL)
	results, err := verifyMany(t, u, creds)
	for i, r := range results {
		if r.Err != nil || r.Verdict.Code != core.CodeValid {
			t.Errorf("credential %d: got %+v, %v", i, r.Verdict, r.Err)
		}
	}
	var sizes []int
	for _, call := range s.calls(":batchVerify") {
		sizes = append(sizes, len(call.credentials))
	}
	if err != nil || !slices.Equal(sizes, []int{30, 1, 1}) {
		t.Errorf("got batches of %v, %v", sizes, err)
	}
}

// Results in another order lend one holder the identity of another. They are noticed by the keys' ids and asked again
// in batches in which there is no other order.
func TestAttack04_MisplacedResultsLendNobodyAnIdentity(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func([]map[string]any) []map[string]any{
		"reordered": func(r []map[string]any) []map[string]any {
			out := make([]map[string]any, len(r))
			for i := range r {
				out[i] = r[(i+1)%len(r)]
			}
			return out
		},
		"the first one everywhere": func(r []map[string]any) []map[string]any {
			out := make([]map[string]any, len(r))
			for i := range r {
				out[i] = r[0]
			}
			return out
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn()
			s.edge, s.change = true, change
			creds, ids := make([]string, 20), make([]string, 20)
			for i := range creds {
				creds[i], ids[i] = s.add(t, nil)
			}
			u, _ := open(t, nil, serve(t, s, "").URL)
			v := verifying(t, u, verify.Config{})
			for i, r := range v.VerifyMany(t.Context(), core.NetworkID{}, creds, verify.Use) {
				if r.Err != nil || r.Verdict.KeyID != ids[i] || r.Verdict.ActorID != "actor of "+ids[i] {
					t.Errorf("credential %d: got %+v, %v", i, r.Verdict, r.Err)
				}
			}
		})
	}
}
