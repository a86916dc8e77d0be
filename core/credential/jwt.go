package credential

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// SignJWT makes a JWT of the claims with the active key.
func (k *SigningKeys) SignJWT(c *Claims) (string, error) {
	token := jwt.NewWithClaims(k.active.method, payload{Claims: c})
	token.Header["kid"] = k.active.kid
	signed, err := token.SignedString(k.active.private)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return signed, nil
}

// ParseJWT checks the form and the signature of a JWT and returns what it says. Issuer, network and times are the
// caller's to judge. Any failure is [ErrToken].
//
// The key is the one that the header's kid names, and the algorithm is the key's: a header that names another one, or
// that brings a key along or points to one, refuses the token.
func (k *SigningKeys) ParseJWT(token string) (*Claims, error) {
	if !isJWT(token) || !soundHeader(token) { // the decoder passes over line breaks
		return nil, ErrToken
	}
	c := &Claims{}
	parsed, err := jwtParser.ParseWithClaims(token, &payload{Claims: c}, k.keyFor)
	if err != nil || !parsed.Valid || c.KeyID == "" { // a payload of null reads as nothing
		return nil, ErrToken
	}
	return c, nil
}

var jwtParser = jwt.NewParser(
	jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg(), jwt.SigningMethodRS256.Alg()}),
	jwt.WithStrictDecoding(),      // one spelling of each token
	jwt.WithoutClaimsValidation(), // see ParseJWT
)

var errNoKey = errors.New("no key of ours")

// keyFor selects the key that a token's signature is checked with.
func (k *SigningKeys) keyFor(token *jwt.Token) (any, error) {
	kid, ok := token.Header["kid"].(string)
	key := k.byKid[kid]
	if !ok || key == nil || token.Method.Alg() != key.method.Alg() {
		return nil, errNoKey
	}
	return key.public, nil
}

// foreignHeaders are header parameters that carry a key, point to one, or ask for processing that is not done here.
var foreignHeaders = [...]string{"jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip", "enc"}

// soundHeader reports whether a token's header has each parameter once and none that must not be passed over.
func soundHeader(token string) bool {
	for i := range len(token) {
		if token[i] != '.' {
			continue
		}
		raw, err := jwtParser.DecodeSegment(token[:i])
		if err != nil {
			return false
		}
		header, err := ParseObject(raw)
		if err != nil {
			return false
		}
		for _, name := range foreignHeaders {
			if _, there := header[name]; there {
				return false
			}
		}
		return true
	}
	return false
}

// payload makes [Claims] what the JWT library requires. The library's own validation is off, so none of the methods is
// called.
type payload struct{ *Claims }

var _ jwt.Claims = payload{}

// GetExpirationTime is not called.
func (payload) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuedAt is not called.
func (payload) GetIssuedAt() (*jwt.NumericDate, error) { return nil, nil }

// GetNotBefore is not called.
func (payload) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuer is not called.
func (payload) GetIssuer() (string, error) { return "", nil }

// GetSubject is not called.
func (payload) GetSubject() (string, error) { return "", nil }

// GetAudience is not called.
func (payload) GetAudience() (jwt.ClaimStrings, error) { return nil, nil }

var (
	_ json.Marshaler   = payload{}
	_ json.Unmarshaler = &payload{}
)
