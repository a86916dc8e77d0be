package verify

import "github.com/talos-edge/talos-edge/core"

// Claim is what a credential says of itself.
type Claim = core.Claim

// batchClaims are what the credentials in one call claim. They decide which credentials may share it: those whose
// answers can be told from each other, so that a reply whose results are in the wrong order is noticed and lends nobody
// an identity. An answer names its key and, for a token, the token's end. So one call holds
//
//   - a credential that does not say what key it belongs to alone;
//   - a key, and no other credential that claims the same key;
//   - tokens of one key only if each says when it ends, each at another second.
//
// The zero value is of an empty call.
type batchClaims struct {
	alone bool
	seen  map[mark]struct{}
}

// mark is what an answer can be told by.
type mark struct {
	keyID string
	end   int64
}

// The marks of a key in a call besides the ends of its tokens, which are later than 1970.
const (
	anyEnd  = 0  // a credential that takes every answer about the key
	someEnd = -1 // any credential that claims the key
)

// add adds a credential to the call, or returns false when it must not share it with those that are there.
func (a *batchClaims) add(c Claim) bool {
	opaque := c.KeyID == "" && !c.Sure
	switch {
	case a.alone, opaque && len(a.seen) > 0:
		return false
	case c.Sure:
		return true
	case opaque:
		a.alone = true
		return true
	}
	rival := c.End
	if rival == anyEnd {
		rival = someEnd
	}
	if a.has(c.KeyID, anyEnd) || a.has(c.KeyID, rival) {
		return false
	}
	if a.seen == nil {
		a.seen = make(map[mark]struct{})
	}
	a.seen[mark{c.KeyID, c.End}] = struct{}{}
	a.seen[mark{c.KeyID, someEnd}] = struct{}{}
	return true
}

func (a *batchClaims) has(keyID string, end int64) bool {
	_, there := a.seen[mark{keyID, end}]
	return there
}
