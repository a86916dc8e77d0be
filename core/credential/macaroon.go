package credential

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"gopkg.in/macaroon.v2"
)

// MaxCaveats is how many caveats a macaroon may have, the one with the claims included.
const MaxCaveats = 64

// macaroonRoot is what a secret makes the root key of the macaroons from.
const macaroonRoot = "talos/macaroon/v1/root-key"

// claimsCaveat begins the caveat that the claims sit in. It is a macaroon's first one, and only there.
const claimsCaveat = "claims="

// ErrMacaroon is the error of [AppendCaveats] for what is no macaroon of the format.
var ErrMacaroon = errors.New("not a macaroon of the form {prefix}_v1_{base64url}")

// MintMacaroon makes a macaroon of the claims under the current secret. Its identifier is the token's id and its
// location the issuer.
func (f *Format) MintMacaroon(c *Claims) (string, error) {
	if f.keyring == nil {
		return "", errors.New("no HMAC secret to mint macaroons with")
	}
	claims, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("minting a macaroon: %w", err)
	}
	m, err := macaroon.New(f.keyring.sign(nil, macaroonRoot), []byte(c.TokenID), c.Issuer, macaroon.V2)
	if err != nil {
		return "", fmt.Errorf("minting a macaroon: %w", err)
	}
	if err := m.AddFirstPartyCaveat(append([]byte(claimsCaveat), claims...)); err != nil {
		return "", fmt.Errorf("minting a macaroon: %w", err)
	}
	return encodeMacaroon(f.macaroon[0], m)
}

// ParseMacaroon checks the form and the signature of a macaroon that [Format.Parse] has recognized, under the current
// and then the retired secrets. It returns the claims and the caveats that holders appended, of which every one must
// hold; issuer, network and times are the caller's to judge as well. Any failure is [ErrToken].
func (f *Format) ParseMacaroon(token string) (c *Claims, caveats []string, err error) {
	rest, ok := f.cutMacaroon(token)
	if !ok || f.keyring == nil {
		return nil, nil, ErrToken
	}
	m, ok := decodeMacaroon(rest)
	if !ok {
		return nil, nil, ErrToken
	}
	for _, s := range f.keyring.secrets {
		conditions, err := m.VerifySignature(s.sum(macaroonRoot, nil), nil)
		if err != nil {
			continue
		}
		claims, first := strings.CutPrefix(conditions[0], claimsCaveat)
		c = &Claims{}
		// Neither location nor identifier says anything that the claims do not.
		if !first || json.Unmarshal([]byte(claims), c) != nil || c.KeyID == "" ||
			m.Location() != c.Issuer || string(m.Id()) != c.TokenID {
			return nil, nil, ErrToken
		}
		return c, conditions[1:], nil
	}
	return nil, nil, ErrToken
}

// AppendCaveats makes a macaroon with more caveats of one that somebody holds. It needs no secret.
func AppendCaveats(token string, caveats ...string) (string, error) {
	// A prefix may hold the version and so may base64url: the first place where a macaroon follows is the one.
	for at := strings.Index(token, version); at >= 0; {
		prefix, rest := token[:at], token[at+len(version):]
		if m, ok := decodeMacaroon(rest); ok && prefixPattern.MatchString(prefix) {
			for _, caveat := range caveats {
				if err := m.AddFirstPartyCaveat([]byte(caveat)); err != nil {
					return "", fmt.Errorf("adding a caveat: %w", err)
				}
			}
			return encodeMacaroon(prefix, m)
		}
		next := strings.Index(token[at+1:], version) // which may overlap: `a_v1_v1_…` has the prefix `a_v1`
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return "", ErrMacaroon
}

// cutMacaroon cuts a configured macaroon prefix and the version off a credential.
func (f *Format) cutMacaroon(credential string) (rest string, ok bool) {
	for _, prefix := range f.macaroon {
		if rest, ok = strings.CutPrefix(credential, prefix); ok {
			if rest, ok = strings.CutPrefix(rest, version); ok {
				return rest, true
			}
		}
	}
	return "", false
}

// encodeMacaroon writes a macaroon as a credential.
func encodeMacaroon(prefix string, m *macaroon.Macaroon) (string, error) {
	b, err := m.MarshalBinary()
	if err != nil {
		return "", fmt.Errorf("encoding a macaroon: %w", err)
	}
	token := prefix + version + base64.RawURLEncoding.EncodeToString(b)
	switch {
	case len(m.Caveats()) > MaxCaveats:
		return "", fmt.Errorf("a macaroon has at most %d caveats", MaxCaveats)
	case len(token) > MaxLength:
		return "", fmt.Errorf("the macaroon would be longer than %d bytes", MaxLength)
	}
	return token, nil
}

// decodeMacaroon reads what follows the version in a credential: one macaroon in the V2 binary format, in its only
// spelling, with 1 to [MaxCaveats] caveats, none of which is for a third party.
func decodeMacaroon(s string) (*macaroon.Macaroon, bool) {
	if len(s) > MaxLength {
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != byte(macaroon.V2) {
		return nil, false
	}
	var m macaroon.Macaroon
	if m.UnmarshalBinary(b) != nil || m.Version() != macaroon.V2 {
		return nil, false
	}
	// Neither line breaks, which the decoder passes over, nor anything behind the macaroon.
	again, err := m.MarshalBinary()
	if err != nil || !bytes.Equal(again, b) || strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	caveats := m.Caveats()
	if len(caveats) == 0 || len(caveats) > MaxCaveats {
		return nil, false
	}
	for i := range caveats {
		if len(caveats[i].VerificationId) > 0 || caveats[i].Location != "" {
			return nil, false
		}
	}
	return &m, true
}
