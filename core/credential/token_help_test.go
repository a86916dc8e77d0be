package credential

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// rsaKey is made once: that takes a while.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, MinRSABits)
	if err != nil {
		panic(err)
	}
	return key
})

var edKey = sync.OnceValue(func() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

func edPublicKey(t testing.TB, key ed25519.PrivateKey) ed25519.PublicKey {
	t.Helper()
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("not a public key")
	}
	return public
}

func jwkSet(t testing.TB, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// bothKeys has an Ed25519 key "ed", which is active, and an RSA key "rsa".
func bothKeys(t testing.TB, activeKid string) *SigningKeys {
	t.Helper()
	k, err := ParseSigningKeys(jwkSet(t,
		jose.JSONWebKey{Key: edKey(), KeyID: "ed"}, jose.JSONWebKey{Key: rsaKey(), KeyID: "rsa"}), activeKid)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func someClaims() *Claims {
	at := time.Unix(1700000000, 0).UTC()
	return &Claims{
		Issuer: "https://api.example.com", KeyID: keyID.String(), Network: network, TokenID: "token-1",
		IssueTime: at, NotBefore: at, ExpireTime: at.Add(time.Hour), ActorID: "alice",
		Scopes: []string{"orders:read", "orders:*"}, Metadata: json.RawMessage(`{"plan":"gold"}`),
		CIDRs: []string{"10.0.0.0/8"}, Custom: map[string]json.RawMessage{"tenant": json.RawMessage(`"t1"`)},
	}
}

// sign makes a JWT of any header and payload with any key.
func sign(t testing.TB, method jwt.SigningMethod, key any, header, payload string) string {
	t.Helper()
	text := segment(header) + "." + segment(payload)
	sum, err := method.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sum)
}

func segment(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func payloadOf(t testing.TB, c *Claims) string {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// with is a payload with one member replaced by, or added as, raw JSON.
func with(t testing.TB, payload, name, value string) string {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(payload), &all); err != nil {
		t.Fatal(err)
	}
	if value == "" {
		delete(all, name)
	} else {
		all[name] = json.RawMessage(value)
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func flipBit(s string, bit int) string {
	b := []byte(s)
	b[bit/8] ^= 1 << (bit % 8)
	return string(b)
}

func mustContain(t testing.TB, s, part string) {
	t.Helper()
	if !strings.Contains(s, part) {
		t.Errorf("%s lacks %s", s, part)
	}
}
