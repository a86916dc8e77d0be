package credential

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestSigningKeys_TheActiveOneSignsAndAllVerify(t *testing.T) {
	t.Parallel()
	for active, alg := range map[string]string{"": "EdDSA", "ed": "EdDSA", "rsa": "RS256"} {
		token, err := bothKeys(t, active).SignJWT(someClaims())
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(token, ".")
		raw, err := base64.RawURLEncoding.DecodeString(head)
		if err != nil {
			t.Fatal(err)
		}
		mustContain(t, string(raw), `"alg":"`+alg+`"`)
		for _, other := range []string{"ed", "rsa"} {
			if _, err := bothKeys(t, other).ParseJWT(token); err != nil {
				t.Errorf("signed with %q, %q active: %v", active, other, err)
			}
		}
	}
}

func TestSigningKeys_APublicKeyIsARetiredOne(t *testing.T) {
	t.Parallel()
	_, fresh, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	old, err := bothKeys(t, "ed").SignJWT(someClaims())
	if err != nil {
		t.Fatal(err)
	}
	set := jwkSet(t, jose.JSONWebKey{Key: edKey().Public(), KeyID: "ed"}, jose.JSONWebKey{Key: fresh, KeyID: "new"})
	k, err := ParseSigningKeys(set, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.ParseJWT(old); err != nil {
		t.Errorf("a token of a retired key: %v", err)
	}
	if k.active.kid != "new" {
		t.Errorf("%q signs instead of the key with a private part", k.active.kid)
	}
	if _, err := ParseSigningKeys(set, "ed"); err == nil {
		t.Error("a public key was made the active one")
	}
	without, err := ParseSigningKeys(jwkSet(t, jose.JSONWebKey{Key: fresh, KeyID: "new"}), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := without.ParseJWT(old); err == nil {
		t.Error("a token of a key that was taken out still verifies")
	}
}

func TestSigningKeys_AGeneratedSetIsStoredAndReadAgain(t *testing.T) {
	t.Parallel()
	set, err := GenerateSigningKeys()
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseSigningKeys(set, "")
	if err != nil {
		t.Fatal(err)
	}
	token, err := k.SignJWT(someClaims())
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseSigningKeys(set, k.active.kid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.ParseJWT(token); err != nil {
		t.Error(err)
	}
}

func TestSigningKeys_TheJWKSIsPublic(t *testing.T) {
	t.Parallel()
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(bothKeys(t, "").JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 2 || set.Keys[0]["kid"] != "ed" || set.Keys[0]["alg"] != "EdDSA" ||
		set.Keys[1]["alg"] != "RS256" {
		t.Errorf("%v", set)
	}
	for _, key := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, there := key[private]; there {
				t.Errorf("the JWKS publishes %q of %v", private, key["kid"])
			}
		}
	}
}

func TestParseSigningKeys_RefusesKeysThatMustNotSign(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mixed := append(append(ed25519.PrivateKey{}, edKey().Seed()...), edPublicKey(t, other)...)
	d := base64.RawURLEncoding.EncodeToString(edKey().Seed())
	key := func(k any) []byte { return jwkSet(t, jose.JSONWebKey{Key: k, KeyID: "x"}) }
	for name, set := range map[string][]byte{
		"nothing":          nil,
		"not JSON":         []byte("-----BEGIN PRIVATE KEY-----"),
		"no keys":          []byte(`{"keys":[]}`),
		"another object":   []byte(`{}`),
		"cut off":          []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","d":"` + d + `"`),
		"a bad key":        []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + d + `_","d":"` + d + `"}]}`),
		"ECDSA":            key(ec),
		"HMAC":             key([]byte("an HMAC secret of thirty-two bytes")),
		"RSA of 1024 bits": key(small),
		"two halves":       key(mixed),
		"public keys only": key(edKey().Public()),
		"a kid twice": jwkSet(t, jose.JSONWebKey{Key: edKey(), KeyID: "x"},
			jose.JSONWebKey{Key: other, KeyID: "x"}),
		"another alg":         jwkSet(t, jose.JSONWebKey{Key: rsaKey(), KeyID: "x", Algorithm: "PS256"}),
		"for encryption only": jwkSet(t, jose.JSONWebKey{Key: rsaKey(), KeyID: "x", Use: "enc"}),
	} {
		_, err := ParseSigningKeys(set, "")
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), d) {
			t.Errorf("%s: the error prints the key", name)
		}
	}
	if _, err := ParseSigningKeys(key(edKey()), "y"); err == nil {
		t.Error("an active kid that no key has: no error")
	}
}

func TestParseSigningKeys_ASingleKeyIsASet(t *testing.T) {
	t.Parallel()
	one, err := json.Marshal(jose.JSONWebKey{Key: edKey()})
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseSigningKeys(one, "")
	if err != nil {
		t.Fatal(err)
	}
	if k.active.kid == "" {
		t.Error("a key without a kid did not get its thumbprint")
	}
}
