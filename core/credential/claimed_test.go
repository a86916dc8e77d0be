package credential

import (
	"testing"
	"time"

	"gopkg.in/macaroon.v2"
)

// What a token says of itself is read without a secret, as the server reads it.
func TestClaimed_IsWhatTheServerWroteWhateverAHolderAppended(t *testing.T) {
	t.Parallel()
	c := someClaims()
	token := mintMacaroon(t, newFormat(t, Prefixes{}, secretA))
	signed, err := bothKeys(t, "").SignJWT(c)
	if err != nil {
		t.Fatal(err)
	}
	appended := func(caveats ...string) string {
		narrower, err := AppendCaveats(token, caveats...)
		if err != nil {
			t.Fatal(err)
		}
		return narrower
	}
	payload := func(claims string) string { return segment(`{"alg":"EdDSA"}`) + "." + segment(claims) + ".c2ln" }
	f, err := NewFormat(network, nil, Prefixes{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		token   string
		keyID   string
		expires time.Time
	}{
		"a macaroon":                       {token, c.KeyID, c.ExpireTime},
		"a JWT":                            {signed, c.KeyID, c.ExpireTime},
		"one that was narrowed":            {appended("scopes=a"), c.KeyID, time.Time{}},
		"one with a second subject":        {appended(`claims={"sub":"other","exp":1}`), c.KeyID, time.Time{}},
		"no claims":                        {forged(t, "scopes=a"), "", time.Time{}},
		"claims that are not the first":    {forged(t, "scopes=a", `claims={"sub":"other"}`), "", time.Time{}},
		"claims that are no object":        {forged(t, `claims=[]`), "", time.Time{}},
		"two subjects":                     {payload(`{"sub":"a","sub":"b"}`), "", time.Time{}},
		"a subject in another case":        {payload(`{"sub":"a","SUB":"b"}`), "a", time.Time{}},
		"a subject that is no text":        {payload(`{"sub":1,"exp":2}`), "", time.Time{}},
		"an end that is no number":         {payload(`{"sub":"a","exp":"2"}`), "a", time.Time{}},
		"a payload that is no base64":      {"eyJ.a.b", "", time.Time{}},
		"what only looks like a macaroon":  {"mc_v1_AAAA", "", time.Time{}},
		"a macaroon with a line break":     {token + "\n", "", time.Time{}},
		"a macaroon of a prefix not known": {"other_v1_" + token[len("mc_v1_"):], "", time.Time{}},
	} {
		if keyID, expires := f.Claimed(tc.token); keyID != tc.keyID || !expires.Equal(tc.expires) {
			t.Errorf("%s: got %q, %s", name, keyID, expires)
		}
	}
}

// forged makes a macaroon under a foreign key, which has these caveats and no others.
func forged(t testing.TB, caveats ...string) string {
	t.Helper()
	m, err := macaroon.New([]byte("a foreign root key"), []byte("token-1"), "https://api.example.com", macaroon.V2)
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
