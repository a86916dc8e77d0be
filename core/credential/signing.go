package credential

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// MinRSABits is the size of the smallest RSA key that signs or verifies tokens.
const MinRSABits = 2048

// Bounds of a set of signing keys.
const (
	maxSigningKeys = 32
	maxKidLength   = 256 // bytes
)

// SigningKeys are the keys that sign a network's derived JWTs and the ones that verify them. It is safe for concurrent
// use.
type SigningKeys struct {
	active *signingKey
	byKid  map[string]*signingKey
	public []byte // the JWK Set
}

// signingKey is one key. Its algorithm follows from its type and from nothing that a token says.
type signingKey struct {
	kid     string
	method  jwt.SigningMethod
	public  crypto.PublicKey
	private crypto.PrivateKey // nil: it verifies only
}

// ParseSigningKeys reads a JWK Set (RFC 7517), or a single JWK, of Ed25519 keys, which sign with EdDSA (RFC 8037), and
// of RSA keys of at least [MinRSABits], which sign with RS256. The active key signs; it is the one with the given kid
// or, when that is empty, the first one with a private part. All keys verify: the others are retired. A key without a
// kid is known by its thumbprint (RFC 7638). Errors hold no key material.
func ParseSigningKeys(set []byte, activeKid string) (*SigningKeys, error) {
	list, err := splitSet(set)
	if err != nil {
		return nil, err
	}
	k := &SigningKeys{byKid: map[string]*signingKey{}}
	var public jose.JSONWebKeySet
	for i, raw := range list {
		key, jwk, err := parseSigningKey(raw)
		if err != nil {
			return nil, fmt.Errorf("signing key %d: %w", i+1, err)
		}
		if k.byKid[key.kid] != nil {
			return nil, fmt.Errorf("signing key %d: its kid is that of an earlier one", i+1)
		}
		k.byKid[key.kid] = key
		public.Keys = append(public.Keys, jwk)
		if key.private != nil && (activeKid == key.kid || activeKid == "" && k.active == nil) {
			k.active = key
		}
	}
	if k.active == nil {
		if activeKid != "" {
			return nil, fmt.Errorf("signing keys: no private key has the kid %.64q", activeKid)
		}
		return nil, errors.New("signing keys: none has a private part")
	}
	if k.public, err = json.Marshal(public); err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	return k, nil
}

// GenerateSigningKeys makes a JWK Set of one new Ed25519 key, the private part included, to be stored.
func GenerateSigningKeys() ([]byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	jwk := jose.JSONWebKey{Key: private, Algorithm: string(jose.EdDSA), Use: "sig"}
	if jwk.KeyID, err = thumbprint(&jwk); err != nil {
		return nil, err
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk}})
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return set, nil
}

// JWKS is the JWK Set of the public keys, the active and the retired ones. It must not be changed.
func (k *SigningKeys) JWKS() json.RawMessage { return k.public }

// splitSet returns the keys of a JWK Set, or a single JWK as a set of one.
func splitSet(set []byte) ([]json.RawMessage, error) {
	var both struct {
		Keys []json.RawMessage `json:"keys"`
		Kty  string            `json:"kty"`
	}
	// The cause is not told: what encoding/json says may quote a part of the input.
	if json.Unmarshal(set, &both) != nil {
		return nil, errors.New("signing keys: must be a JSON Web Key Set")
	}
	if both.Keys == nil && both.Kty != "" {
		both.Keys = []json.RawMessage{set}
	}
	if len(both.Keys) == 0 || len(both.Keys) > maxSigningKeys {
		return nil, fmt.Errorf("signing keys: must be a JSON Web Key Set of 1 to %d keys", maxSigningKeys)
	}
	return both.Keys, nil
}

// parseSigningKey reads one JWK and returns, beside the key, the JWK to publish.
func parseSigningKey(raw []byte) (*signingKey, jose.JSONWebKey, error) {
	var jwk jose.JSONWebKey
	if json.Unmarshal(raw, &jwk) != nil || !jwk.Valid() {
		return nil, jwk, errors.New("is not a well-formed JSON Web Key")
	}
	key := &signingKey{}
	switch material := jwk.Key.(type) {
	case ed25519.PrivateKey:
		// With a public part of another key every signature would give the private one away.
		if !bytes.Equal(ed25519.NewKeyFromSeed(material.Seed()), material) {
			return nil, jwk, errors.New("the public part does not belong to the private one")
		}
		key.method, key.private, key.public = jwt.SigningMethodEdDSA, material, material.Public()
	case ed25519.PublicKey:
		key.method, key.public = jwt.SigningMethodEdDSA, material
	case *rsa.PrivateKey:
		if material.Validate() != nil {
			return nil, jwk, errors.New("is not a valid RSA key")
		}
		key.method, key.private, key.public = jwt.SigningMethodRS256, material, &material.PublicKey
	case *rsa.PublicKey:
		key.method, key.public = jwt.SigningMethodRS256, material
	default:
		return nil, jwk, errors.New("must be an Ed25519 or an RSA key")
	}
	if public, ok := key.public.(*rsa.PublicKey); ok && (public.N.BitLen() < MinRSABits || public.E < 3) {
		return nil, jwk, fmt.Errorf("an RSA key needs at least %d bits", MinRSABits)
	}
	if jwk.Algorithm != "" && jwk.Algorithm != key.method.Alg() {
		return nil, jwk, fmt.Errorf("its alg is %.16q and must be %q", jwk.Algorithm, key.method.Alg())
	}
	if jwk.Use != "" && jwk.Use != "sig" {
		return nil, jwk, fmt.Errorf("its use is %.16q and must be %q", jwk.Use, "sig")
	}
	key.kid = jwk.KeyID
	if key.kid == "" {
		var err error
		if key.kid, err = thumbprint(&jwk); err != nil {
			return nil, jwk, err
		}
	}
	if len(key.kid) > maxKidLength {
		return nil, jwk, fmt.Errorf("its kid is longer than %d bytes", maxKidLength)
	}
	return key, jose.JSONWebKey{Key: key.public, KeyID: key.kid, Algorithm: key.method.Alg(), Use: "sig"}, nil
}

func thumbprint(jwk *jose.JSONWebKey) (string, error) {
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", errors.New("has no thumbprint")
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
