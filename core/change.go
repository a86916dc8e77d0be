package core

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core/feed"
)

// CreateResult is what came of one key of several that were to be created.
type CreateResult struct {
	Key     Key  // as it is stored
	Created bool // false: the network had a key of the same kind with the same RequestID, and Key is that one
	Err     error
}

// Patch changes some of a key's fields: those that are not nil. A pointer to a zero value clears its field.
type Patch struct {
	Name         *string
	Scopes       *[]string
	Metadata     *json.RawMessage
	RateLimit    *RateLimitPolicy
	AllowedCIDRs *[]netip.Prefix
}

// IsZero says whether the patch changes nothing.
func (p *Patch) IsZero() bool { return *p == Patch{} }

// apply makes the changes.
func (p *Patch) apply(k *Key) {
	if p.Name != nil {
		k.Name = *p.Name
	}
	if p.Scopes != nil {
		k.Scopes = slices.Clone(*p.Scopes)
	}
	if p.Metadata != nil {
		k.Metadata = slices.Clone(*p.Metadata)
	}
	if p.RateLimit != nil {
		k.RateLimit = *p.RateLimit
	}
	if p.AllowedCIDRs != nil {
		k.AllowedCIDRs = slices.Clone(*p.AllowedCIDRs)
	}
}

// Update is a request to change a key.
type Update struct {
	Patch
	Time time.Time
}

// Of returns what becomes of a key. One that is revoked is [FailedPrecondition].
func (u *Update) Of(k Key) (Key, error) {
	if k.Status != StatusActive {
		return Key{}, NewError(FailedPrecondition, "the key is revoked: it cannot be updated")
	}
	u.apply(&k)
	k.UpdateTime = u.Time
	return k, nil
}

// Rotation is a request to put a new key in the place of an issued one.
type Rotation struct {
	Patch                  // what the new key has that the old one has not
	Visibility *Visibility // nil: the old key's
	NewKeyID   string
	Prefix     string // of the new key's credential
	Time       time.Time
}

// Of returns the key that takes the place of an old one. It inherits what the rotation does not change, its expiry
// too, but for the request id, which belongs to the call that issued the old one. An old key that is revoked or expired
// is [FailedPrecondition].
func (r *Rotation) Of(old Key) (Key, error) {
	switch old.StatusAt(r.Time) {
	case StatusActive:
	case StatusRevoked:
		return Key{}, NewError(FailedPrecondition, "the key is revoked: it cannot be rotated")
	case StatusExpired:
		return Key{}, NewError(FailedPrecondition, "the key has expired: it cannot be rotated")
	default:
		return Key{}, NewError(Internal, "the key has an unknown status")
	}
	k := old
	k.ID, k.RequestID, k.Prefix = r.NewKeyID, "", r.Prefix
	k.CreateTime, k.UpdateTime, k.LastUsedTime = r.Time, r.Time, time.Time{}
	r.apply(&k)
	if r.Visibility != nil {
		k.Visibility = *r.Visibility
	}
	return k, nil
}

// Deletion is a request to delete a key.
type Deletion struct {
	Time time.Time
}

// ListQuery asks for a network's keys of one kind in the order of their creation.
type ListQuery struct {
	Network NetworkID
	Kind    Kind      // Issued or Imported
	ActorID string    // empty: of any actor
	Status  Status    // at the moment Now; StatusUnknown: in any
	Now     time.Time // the moment that tells expired keys from active ones

	// UsedBefore narrows the list to keys whose last use was before it, or that were never used. Zero: all.
	UsedBefore time.Time

	After uint64 // a page's Next; 0: from the first key on
	Limit int    // keys of the page at most; 1 or more
}

// KeyPage is a page of a list.
type KeyPage struct {
	Keys []Key
	Next uint64 // what After is to be for the page behind this one; 0: there is none
}

// Use is the last use of a key that is known of: the moment at which a credential of it was presented and found valid.
type Use struct {
	Network NetworkID
	KeyID   string
	Time    time.Time
}

// UseInterval is the time between two writes of a key's last use.
const UseInterval = time.Minute

// PrefixCount is how many of a network's issued keys have a prefix.
type PrefixCount struct {
	Prefix string // as [Key.Prefix]
	Keys   int64
}

// NodeState is how far a process on a database has come with the feed of changes.
type NodeState struct {
	feed.Edge // the process itself

	Edges []feed.Edge // that read from it
}
