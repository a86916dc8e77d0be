package core

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"strings"
	"time"
	"unsafe"
)

// The memory of a Verdict and of the items of its lists in bytes, without what their fields point to.
const (
	verdictSize = int(unsafe.Sizeof(Verdict{}))
	stringSize  = int(unsafe.Sizeof(""))
	prefixSize  = int(unsafe.Sizeof(netip.Prefix{}))
)

// Code says why a credential is not valid. The zero value, CodeValid, says that it is.
type Code uint8

// The codes of a verdict (the first group) and of a decision about one request (all of them).
const (
	CodeValid            Code = iota
	CodeNotFound              // unknown key, foreign prefix, wrong checksum: a caller must not learn which
	CodeRevoked               // revoked; final
	CodeExpired               // past its time
	CodeInvalidFormat         // nothing that could be a credential
	CodeSignatureInvalid      // a token whose signature, issuer or time is wrong
	CodeInternal              // could not be judged, in a batch whose other items could

	CodeIPNotAllowed     // the caller's address is outside of the key's list
	CodeRateLimited      // the key has been used as often as its limit allows
	CodeScopeMissing     // the route asks for a scope that the key does not hold
	CodeVisibilityDenied // the route does not take keys of this visibility

	Codes // how many there are
)

// CredentialType is what was presented: a key, or a token derived from one.
type CredentialType uint8

// The types of credential.
const (
	UnknownCredentialType CredentialType = iota
	IssuedKey
	ImportedKey
	DerivedJWT
	DerivedMacaroon
)

// Verdict is what is known about the key behind a credential. It is about the key only, never about a request, and so
// can be cached. A verdict does not change once made; it is shared between requests.
type Verdict struct {
	Network NetworkID
	KeyID   string // the id that the credential would have, also when there is no such key
	Type    CredentialType
	Code    Code // one of the first group

	// What follows is set when the key is known.
	ActorID      string
	Scopes       []string
	Metadata     json.RawMessage // a JSON object, or nil
	Visibility   Visibility
	Status       Status
	ExpireTime   time.Time     // zero: never
	Leeway       time.Duration // how long after ExpireTime the credential still counts, see [Verdict.End]
	AllowedCIDRs []netip.Prefix
	RateLimit    RateLimitPolicy
	LineageID    string // as [Key.LineageID]
	Issuer       string

	// Identity is the text of the verdict for headers, made once for all requests. Only a valid verdict has it.
	Identity Identity

	// Position is the position in the feed of changes at which the look-up started: all changes up to it are in this
	// verdict.
	Position uint64
}

// Identity is a verified identity as header-safe text: printable ASCII, no line breaks.
type Identity struct {
	Actor    string // percent-encoded (RFC 3986) beyond printable ASCII; `%`, `,` and spaces at the ends too
	Scopes   string // separated by spaces
	Metadata string // base64url without padding (RFC 4648, section 5) of the JSON object; empty for none
	Network  string // UUID
}

// NewVerdict tells what a stored key means to a verifier at a moment.
func NewVerdict(k *Key, issuer string, now time.Time) *Verdict {
	v := &Verdict{
		Network:      k.Network,
		KeyID:        k.ID,
		ActorID:      k.ActorID,
		Scopes:       k.Scopes,
		Metadata:     k.Metadata,
		Visibility:   k.Visibility,
		Status:       k.StatusAt(now),
		ExpireTime:   k.ExpireTime,
		AllowedCIDRs: k.AllowedCIDRs,
		RateLimit:    k.RateLimit,
		LineageID:    k.LineageID,
		Issuer:       issuer,
	}
	switch k.Kind {
	case Issued:
		v.Type = IssuedKey
	case Imported:
		v.Type = ImportedKey
	default:
		v.Code = CodeInternal
		return v
	}
	switch v.Status {
	case StatusActive:
		v.Code = CodeValid
	case StatusRevoked:
		v.Code = CodeRevoked
		return v
	case StatusExpired:
		v.Code = CodeExpired
		return v
	default:
		v.Code = CodeInternal
		return v
	}
	v.pack()
	return v
}

// End is the moment from which on the credential does not count any more, zero for never. It is later than ExpireTime
// for tokens only, whose times are judged with a leeway for clocks that differ.
func (v *Verdict) End() time.Time {
	if v.ExpireTime.IsZero() {
		return v.ExpireTime
	}
	return v.ExpireTime.Add(v.Leeway)
}

// CountedAs is the id under which uses of the key are counted: keys that rotations have made of one another share one
// count, or a rotation would give a key its whole quota anew.
func (v *Verdict) CountedAs() string {
	if v.LineageID != "" {
		return v.LineageID
	}
	return v.KeyID
}

// pack gives the verdict its identity, and all of its text one piece of memory: a cache holds many verdicts, and a hit
// on one that has not been used for a while waits for each piece.
func (v *Verdict) pack() {
	actor := percentEncode(v.ActorID)
	scopes := strings.Join(v.Scopes, " ")
	metadata := base64.RawURLEncoding.EncodeToString(v.Metadata)
	network := nilNetwork
	if v.Network != (NetworkID{}) {
		network = v.Network.String()
	}
	text := v.KeyID + v.LineageID + actor + scopes + metadata
	cut := func(n int) (part string) {
		part, text = text[:n], text[n:]
		return part
	}
	v.KeyID, v.LineageID = cut(len(v.KeyID)), cut(len(v.LineageID))
	v.Identity = Identity{
		Actor:    cut(len(actor)),
		Scopes:   cut(len(scopes)),
		Metadata: cut(len(metadata)),
		Network:  network,
	}
	if v.ActorID == actor {
		v.ActorID = v.Identity.Actor
	}
	held, at := make([]string, len(v.Scopes)), 0
	for i, scope := range v.Scopes {
		held[i] = v.Identity.Scopes[at : at+len(scope)]
		at += len(scope) + 1
	}
	v.Scopes = held
}

// nilNetwork is the text of the network of a node that has only one.
var nilNetwork = NetworkID{}.String()

// Unknown is the verdict on a credential that names no key.
func Unknown(network NetworkID, keyID string, t CredentialType) *Verdict {
	return &Verdict{Network: network, KeyID: keyID, Type: t, Code: CodeNotFound}
}

// Size is the memory that the verdict takes, in bytes, to within a tenth.
func (v *Verdict) Size() int {
	n := verdictSize + len(v.KeyID) + len(v.LineageID) + len(v.Identity.Actor) + len(v.Identity.Scopes) +
		len(v.Identity.Metadata) + stringSize*len(v.Scopes) + len(v.Metadata) + prefixSize*len(v.AllowedCIDRs) +
		len(v.RateLimit.Unit)
	if v.ActorID != v.Identity.Actor {
		n += len(v.ActorID)
	}
	return n + n/12 // the allocator rounds up
}

// percentEncode makes header-safe text of s: printable ASCII without the comma, which separates list members, and
// without spaces at the ends, which header parsers drop. `%` itself is encoded, so that no two texts become one. Text
// that is already safe is returned as it is.
func percentEncode(s string) string {
	safe := func(i int) bool {
		switch c := s[i]; c {
		case '%', ',':
			return false
		case ' ':
			return i > 0 && i < len(s)-1
		default:
			return c > 0x20 && c < 0x7f
		}
	}
	unsafeBytes := 0
	for i := range len(s) {
		if !safe(i) {
			unsafeBytes++
		}
	}
	if unsafeBytes == 0 {
		return s
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+2*unsafeBytes)
	for i := range len(s) {
		if c := s[i]; safe(i) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}
