package core

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/google/uuid"
)

// NetworkID names a network: one tenant's set of keys. The zero value is the network of a node that has only one.
type NetworkID = uuid.UUID

// Kind tells where a key's credential came from.
type Kind uint8

// The kinds of key. AnyKind is for requests that take either; no stored key has it.
const (
	AnyKind Kind = iota
	Issued
	Imported
)

// Status is the stored state of a key. Expiry is not a stored state: it follows from [Key.ExpireTime] and the clock.
type Status uint8

// The states of a key. A revoked key stays revoked, unless it is suspended: see [Key.IsSuspended].
const (
	StatusUnknown Status = iota
	StatusActive
	StatusRevoked
	StatusExpired
)

// Visibility reports whether a key may appear in public code (a browser bundle, a mobile app).
type Visibility uint8

// The visibilities. VisibilitySecret is the default wherever none is asked for.
const (
	VisibilityUnknown Visibility = iota
	VisibilitySecret
	VisibilityPublic
)

// RevocationReason says why a key was revoked.
type RevocationReason uint8

// The reasons for a revocation. Only PrivilegeWithdrawn carries a description, and only an operator may give it.
const (
	ReasonUnspecified RevocationReason = iota
	ReasonKeyCompromise
	ReasonAffiliationChanged
	ReasonSuperseded
	ReasonPrivilegeWithdrawn
)

// Key is the record of an API key. It never holds the credential, nor anything that a credential could be made from.
type Key struct {
	Network NetworkID
	ID      string // UUID of an issued key; hex SHA-512/256 of an imported one
	Kind    Kind

	Name         string
	ActorID      string // whom the key acts for
	Scopes       []string
	Metadata     json.RawMessage // a JSON object, or nil
	Visibility   Visibility
	AllowedCIDRs []netip.Prefix // empty: from anywhere
	RateLimit    RateLimitPolicy
	RequestID    string // the caller's idempotency token, or empty

	// Prefix is what the credential of an issued key begins with. It is empty for an imported key, and for one that was
	// issued before stores recorded it.
	Prefix string

	Status                Status    // StatusActive or StatusRevoked
	SuspendTime           time.Time // of a revoked key that can be resumed: when it was suspended; else zero
	RevocationReason      RevocationReason
	RevocationDescription string

	// Sequence orders keys by their creation. The store sets it, and gives none twice: an imported key that was deleted
	// and imported again has another one.
	Sequence uint64

	CreateTime   time.Time
	UpdateTime   time.Time
	ExpireTime   time.Time // zero: never
	LastUsedTime time.Time // up to two minutes before the last use; zero: never, as far as is known

	// What rotations make of keys: each but the first replaces a key, and each but the last is replaced by one.
	PredecessorID string // the key that this one replaces, or empty
	SuccessorID   string // the key that replaces this one, or empty
	LineageID     string // the first key of all; empty: this one
}

// StatusAt is the state of the key at a moment: the stored one, or expired.
func (k *Key) StatusAt(now time.Time) Status {
	if k.Status == StatusActive && !k.ExpireTime.IsZero() && !now.Before(k.ExpireTime) {
		return StatusExpired
	}
	return k.Status
}

// IsSuspended reports whether the key is refused until it is resumed. Such a key is stored as a revoked one, so that
// whatever does not know of suspension refuses it too.
func (k *Key) IsSuspended() bool { return k.Status == StatusRevoked && !k.SuspendTime.IsZero() }

// Lineage is the id of the first of the keys that rotations have made of one another: this key's own if there was none
// before it.
func (k *Key) Lineage() string {
	if k.LineageID != "" {
		return k.LineageID
	}
	return k.ID
}

// Revocation is a request to revoke a key.
type Revocation struct {
	Reason      RevocationReason
	Description string
	Time        time.Time
}

// Bounds of a key's fields.
const (
	MaxNameLength      = 1024 // bytes, of the name and of the actor id
	MaxScopesLength    = 4096 // bytes, of all scopes with a space between each two
	MaxMetadataLength  = 4096 // bytes of JSON without white space
	MaxCIDRs           = 128
	MaxRequestIDLength = 36 // characters
)

// MaxTTL is the longest lifetime that a key can be given.
const MaxTTL = 315360000 * time.Second

// MaxGrace is the longest time for which a key that was rotated can stay valid.
const MaxGrace = 30 * day

// MaxDescriptionLength is the length of the longest description of a revocation, in bytes.
const MaxDescriptionLength = 1024

// MaxKeyIDLength is the length of the longest key id, in bytes.
const MaxKeyIDLength = 128

// ValidKeyID reports whether a text can be the id of a key, here or on another implementation: up to [MaxKeyIDLength]
// letters, digits, hyphens and underscores. It may be part of a path or a header.
func ValidKeyID(id string) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return id != "" && len(id) <= MaxKeyIDLength
}
