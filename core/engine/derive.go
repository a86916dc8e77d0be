package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// DefaultTokenTTL is the lifetime of a token that is derived without a ttl, where the network allows for as much.
const DefaultTokenTTL = time.Hour

// MaxCustomClaims is the length of the longest custom claims, in bytes of JSON without white space.
const MaxCustomClaims = 4096

// TokenAlgorithm is the kind of token to derive.
type TokenAlgorithm uint8

// The kinds of token.
const (
	AlgorithmJWT TokenAlgorithm = iota
	AlgorithmMacaroon
)

// DeriveRequest asks for a token with a key's rights and a limited lifetime.
type DeriveRequest struct {
	Credential   string // of the parent: an issued or imported key
	Algorithm    TokenAlgorithm
	TTL          *time.Duration // nil: DefaultTokenTTL; not beyond the parent's own lifetime
	Scopes       []string       // nil: all that the parent holds; else literally some of them, or none
	CustomClaims json.RawMessage
	Client       netip.Addr // who asks: must be in the parent's list, if that has one
}

// Derived is a token and what it says.
type Derived struct {
	Token      string
	ExpireTime time.Time // in whole seconds
	Scopes     []string
	Claims     json.RawMessage // all claims, as they are in the token
}

// Derive makes a token of a key. The token holds as long as the key does, at most until it expires itself. Reasons
// against it: [core.CredentialRequired], [core.InvalidKeyFormat], [core.InvalidTokenType] for a token,
// [core.ParentKeyInvalid] for a credential that names no key, whether its checksum is right or not, [core.KeyRevoked],
// [core.KeyExpired], [core.IPNotAllowed], [core.Forbidden] for a scope that the key does not hold, and
// [core.BadRequest].
func (e *Engine) Derive(ctx context.Context, r DeriveRequest) (Derived, error) {
	custom, err := customClaims(r.CustomClaims)
	if err != nil {
		return Derived{}, err
	}
	if r.Algorithm == AlgorithmJWT && e.signing == nil {
		return Derived{}, badRequest("algorithm: no signing keys are configured on this server")
	}
	parent, err := e.parent(ctx, r.Credential)
	if err != nil {
		return Derived{}, err
	}
	moment := now()
	switch parent.StatusAt(moment) {
	case core.StatusActive:
	case core.StatusRevoked:
		return Derived{}, core.NewError(core.KeyRevoked, "the key is revoked")
	case core.StatusExpired:
		return Derived{}, core.NewError(core.KeyExpired, "the key has expired")
	default:
		return Derived{}, errParent()
	}
	if !core.AllowsAddress(parent.AllowedCIDRs, r.Client) {
		return Derived{}, core.NewError(core.IPNotAllowed, "the key may not be used from this address")
	}
	scopes, err := deriveScopes(parent.Scopes, r.Scopes)
	if err != nil {
		return Derived{}, err
	}
	expire, err := e.tokenExpiry(&parent, moment, r.TTL)
	if err != nil {
		return Derived{}, err
	}
	issued := moment.Truncate(time.Second)
	claims := &credential.Claims{
		Issuer: e.issuer, KeyID: parent.ID, Network: e.network, TokenID: tokenID(&parent),
		IssueTime: issued, NotBefore: issued, ExpireTime: expire,
		ActorID: parent.ActorID, Scopes: scopes, Metadata: parent.Metadata,
		Public: parent.Visibility == core.VisibilityPublic, Custom: custom,
	}
	for _, p := range parent.AllowedCIDRs {
		claims.CIDRs = append(claims.CIDRs, p.String())
	}
	return e.mintToken(r.Algorithm, claims)
}

// JWKS is the JWK Set (RFC 7517) of the public keys that derived JWTs verify with, the active and the retired ones.
func (e *Engine) JWKS() json.RawMessage {
	if e.signing == nil {
		return json.RawMessage(`{"keys":[]}`)
	}
	return e.signing.JWKS()
}

// parent returns the key that a token is to be derived from.
func (e *Engine) parent(ctx context.Context, cred string) (core.Key, error) {
	if err := checkCredential(cred); err != nil {
		return core.Key{}, err
	}
	p := e.format.Parse(cred)
	if p.Kind == credential.JWT || p.Kind == credential.Macaroon {
		return core.Key{}, core.NewError(core.InvalidTokenType, "a token is derived from a key, not from another token")
	}
	want, genuine := keyTarget(p, cred)
	if !genuine {
		return core.Key{}, errParent()
	}
	key, err := e.store.Get(ctx, e.network, want.keyID)
	switch {
	case err != nil && core.ReasonOf(err) == core.KeyNotFound:
		return core.Key{}, errParent()
	case err != nil:
		return core.Key{}, err
	case !e.isTarget(want, &key):
		return core.Key{}, errParent()
	}
	return key, nil
}

func errParent() error {
	return core.NewError(core.ParentKeyInvalid, "the credential is not a valid API key")
}

// tokenExpiry is when a token that is derived at a moment expires, in whole seconds.
func (e *Engine) tokenExpiry(parent *core.Key, moment time.Time, ttl *time.Duration) (time.Time, error) {
	lifetime := min(DefaultTokenTTL, e.maxTTL)
	if ttl != nil {
		lifetime = *ttl
	}
	if lifetime < time.Second || lifetime > e.maxTTL {
		return time.Time{}, badRequest("ttl: must lie between 1s and %s", core.FormatSeconds(e.maxTTL))
	}
	expire := moment.Add(lifetime)
	if !parent.ExpireTime.IsZero() && expire.After(parent.ExpireTime) {
		return time.Time{}, badRequest("ttl: %s is beyond the remaining lifetime of the key",
			core.FormatSeconds(lifetime))
	}
	return expire.Truncate(time.Second), nil
}

// deriveScopes are the scopes of a token: those asked for, of which each must be in the key's list as it is written.
func deriveScopes(held, asked []string) ([]string, error) {
	if asked == nil {
		return held, nil
	}
	scopes := make([]string, 0, len(asked))
	for _, s := range asked {
		if !core.ValidScope(s) {
			return nil, errScopes()
		}
		if !slices.Contains(held, s) {
			return nil, core.NewError(core.Forbidden, "scopes: the key does not hold all of them")
		}
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	return scopes, nil
}

func customClaims(object json.RawMessage) (map[string]json.RawMessage, error) {
	var compact bytes.Buffer
	if len(object) > 0 && json.Compact(&compact, object) != nil {
		return nil, badRequest("custom_claims: must be a JSON object")
	}
	if compact.Len() > MaxCustomClaims {
		return nil, badRequest("custom_claims: must not be longer than %d bytes", MaxCustomClaims)
	}
	claims, err := credential.CustomClaims(compact.Bytes())
	if err != nil {
		return nil, badRequest("custom_claims: %v", err)
	}
	return claims, nil
}

// mintToken writes claims as a token.
func (e *Engine) mintToken(algorithm TokenAlgorithm, claims *credential.Claims) (d Derived, err error) {
	d = Derived{ExpireTime: claims.ExpireTime, Scopes: claims.Scopes}
	if d.Claims, err = json.Marshal(claims); err != nil {
		return Derived{}, core.WrapError(core.Internal, "the token could not be made", err)
	}
	const expansion = 4 // in base64 three bytes take four
	if len(d.Claims)*expansion/3 > credential.MaxLength-headroom {
		return Derived{}, badRequest("the token would be longer than %d bytes", credential.MaxLength)
	}
	switch algorithm {
	case AlgorithmJWT:
		d.Token, err = e.signing.SignJWT(claims)
	case AlgorithmMacaroon:
		d.Token, err = e.format.MintMacaroon(claims)
	default:
		return Derived{}, badRequest("algorithm: unknown value")
	}
	if err != nil {
		return Derived{}, core.WrapError(core.Internal, "the token could not be made", err)
	}
	return d, nil
}

// headroom is what a token has beside its claims at most: header with kid, issuer as location, RSA signature.
const headroom = 2 << 10
