package engine

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// DefaultClockSkew is the leeway for tokens' times where none is configured.
const DefaultClockSkew = 5 * time.Minute

// token is a derived token whose signature, issuer and network are right. It does not change once made.
type token struct {
	t      core.CredentialType
	keyID  string // of the parent
	actor  string // of the parent
	issuer string

	parent    uint64 // the parent's Sequence, in its low 48 bits
	hasParent bool   // false: an earlier build issued the token, and parent is not known

	issue, notBefore, expire time.Time  // claims: judged with leeway
	until                    *time.Time // the earliest `expires=` of a holder, judged without; nil for none

	scopes []string
	cidrs  []netip.Prefix // empty: from anywhere
}

// identifyToken says which key a token was derived from, or gives the final verdict on one that is not genuine or not
// of this time. The signature is checked once a token: what was found genuine is remembered until it expires, bounded.
func (e *Engine) identifyToken(kind credential.Kind, cred string) (want *target, final *core.Verdict) {
	t := core.DerivedJWT
	if kind == credential.Macaroon {
		t = core.DerivedMacaroon
	}
	memo, d := &e.shared.memo, e.memoKey.digest(cred)
	tok := memo.get(d)
	fresh := tok == nil
	if fresh {
		if tok = e.openToken(kind, cred); tok == nil {
			return new(target), &core.Verdict{Network: e.network, Type: t, Code: core.CodeSignatureInvalid}
		}
		tok.t = t
	}
	if code := e.judgeTime(tok, time.Now()); code != core.CodeValid {
		memo.drop(d)
		final = &core.Verdict{Network: e.network, Type: t, KeyID: tok.keyID, Code: code}
		if code == core.CodeExpired {
			final.Status, final.ExpireTime = core.StatusExpired, tok.ends()
		}
		return new(target), final
	}
	if fresh {
		memo.put(d, tok)
	}
	return &target{keyID: tok.keyID, kind: core.AnyKind, t: t, token: tok}, nil
}

// openToken checks all of a token but its times. It returns nil for one that is to be refused.
func (e *Engine) openToken(kind credential.Kind, cred string) *token {
	var claims *credential.Claims
	var caveats []string
	var err error
	switch {
	case kind == credential.Macaroon:
		claims, caveats, err = e.format.ParseMacaroon(cred)
	case e.signing != nil:
		claims, err = e.signing.ParseJWT(cred)
	default:
		return nil
	}
	if err != nil || !e.issuers[claims.Issuer] || claims.Network != e.network || !isOwnKeyID(claims.KeyID) ||
		claims.ExpireTime.Before(claims.IssueTime) || claims.ExpireTime.Sub(claims.IssueTime) > core.MaxTTL {
		return nil
	}
	tok := &token{
		keyID: claims.KeyID, actor: claims.ActorID, issuer: claims.Issuer,
		issue: claims.IssueTime, notBefore: claims.NotBefore, expire: claims.ExpireTime,
		scopes: claims.Scopes,
	}
	tok.parent, tok.hasParent = parentOf(claims.TokenID)
	for _, s := range tok.scopes {
		if !core.ValidScope(s) {
			return nil
		}
	}
	if tok.cidrs, err = core.ParseCIDRs(claims.CIDRs); err != nil {
		return nil
	}
	if !tok.narrow(caveats) {
		return nil
	}
	return tok
}

// isOwnKeyID reports whether s has the form of an id that this engine gives a key, issued or imported.
func isOwnKeyID(s string) bool {
	const imported = 64 // hexadecimal digits
	if len(s) != imported {
		id, err := uuid.Parse(s)
		return err == nil && id.String() == s
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// positionBits is how much of a position a token id holds: more changes than a feed will ever see.
const positionBits = 48

// tokenID makes the id of a token: a UUID of version 8 (RFC 9562) of which the first 48 bits are the position at which
// the parent was created, and the others but for version and variant are random.
func tokenID(parent *core.Key) string {
	id := uuid.New()
	var position [8]byte
	binary.BigEndian.PutUint64(position[:], parent.Sequence<<(64-positionBits))
	copy(id[:positionBits/8], position[:])
	id[6] = id[6]&0x0f | 8<<4
	return id.String()
}

// parentOf reads the parent's position from the id of a token. Earlier builds gave tokens ids of version 4.
func parentOf(tokenID string) (position uint64, ok bool) {
	id, err := uuid.Parse(tokenID)
	if err != nil || id.Version() != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(id[:8]) >> (64 - positionBits), true
}

// isOf reports whether a key is the one that the token was derived from. A key that was deleted and imported again has
// the same id and is another one: it was created at another position, whatever the clocks said at the time. A token
// that does not name the position must not be older than the key. The id of an issued key is never another key's.
func (t *token) isOf(key *core.Key) bool {
	switch {
	case key.Kind == core.Issued:
		return true
	case t.actor != key.ActorID:
		return false
	case t.hasParent:
		return t.parent == key.Sequence&(1<<positionBits-1)
	default:
		return !t.issue.Before(key.CreateTime)
	}
}

// end is the moment from which on a token does not count.
func (e *Engine) end(t *token) time.Time {
	end := t.expire.Add(e.skew)
	if t.until != nil && t.until.Before(end) {
		return *t.until
	}
	return end
}

// ends is the moment at which a token ends by its own words.
func (t *token) ends() time.Time {
	if t.until != nil && t.until.Before(t.expire) {
		return *t.until
	}
	return t.expire
}

// judgeTime judges the times that a token names.
func (e *Engine) judgeTime(t *token, now time.Time) core.Code {
	latest := now.Add(e.skew)
	switch {
	case t.notBefore.After(latest) || t.issue.After(latest):
		return core.CodeSignatureInvalid
	case !now.Before(e.end(t)):
		return core.CodeExpired
	default:
		return core.CodeValid
	}
}

// tokenVerdict is what a parent's state means for a token: it is never more than its parent is now, nor than the
// token says. Metadata and visibility are the parent's.
func (e *Engine) tokenVerdict(t *token, parent *core.Key, now time.Time) *core.Verdict {
	key := *parent
	key.Scopes = core.IntersectScopes(t.scopes, parent.Scopes)
	key.AllowedCIDRs = core.IntersectCIDRs(t.cidrs, parent.AllowedCIDRs)
	v := core.NewVerdict(&key, t.issuer, now)
	v.Type = t.t
	end := e.end(t)
	v.ExpireTime = t.ends()
	if !parent.ExpireTime.IsZero() {
		if parent.ExpireTime.Before(end) {
			end = parent.ExpireTime
		}
		if parent.ExpireTime.Before(v.ExpireTime) {
			v.ExpireTime = parent.ExpireTime
		}
	}
	v.Leeway = end.Sub(v.ExpireTime)
	if v.Code == core.CodeValid && !now.Before(end) {
		v.Code, v.Status = core.CodeExpired, core.StatusExpired
	}
	return v
}
