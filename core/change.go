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

// Of returns what becomes of a key. One that is revoked or suspended is [FailedPrecondition].
func (u *Update) Of(k Key) (Key, error) {
	switch {
	case k.IsSuspended():
		return Key{}, NewError(FailedPrecondition, "the key is suspended: it cannot be updated; resume it first")
	case k.Status != StatusActive:
		return Key{}, NewError(FailedPrecondition, "the key is revoked: it cannot be updated")
	}
	u.apply(&k)
	k.UpdateTime = u.Time
	return k, nil
}

// Rotation is a request to replace an issued key by a new one.
type Rotation struct {
	Patch                  // what the new key has that the old one has not
	Visibility *Visibility // nil: the old key's
	NewKeyID   string
	Prefix     string // of the new key's credential
	Time       time.Time

	// Grace is how long the old key stays valid, up to [MaxGrace], and not beyond its own expiry. 0: it is revoked as
	// superseded.
	Grace time.Duration
	Quota int64 // of active keys, which counts where there is a grace period, see [Store.Rotate]; 0: no limit
}

// Of returns the key that takes the place of an old one, and what becomes of that. The new key inherits what the
// rotation does not change, its expiry as it was before the rotation too, but for the request id, which belongs to the
// call that issued the old one. An old key that is revoked, suspended, expired or rotated already is
// [FailedPrecondition].
func (r *Rotation) Of(old Key) (fresh, left Key, err error) {
	if err := rotatable(&old, r.Time); err != nil {
		return Key{}, Key{}, err
	}
	fresh, left = old, old
	fresh.ID, fresh.RequestID, fresh.Prefix = r.NewKeyID, "", r.Prefix
	fresh.PredecessorID, fresh.LineageID = old.ID, old.Lineage()
	fresh.CreateTime, fresh.UpdateTime, fresh.LastUsedTime = r.Time, r.Time, time.Time{}
	r.apply(&fresh)
	if r.Visibility != nil {
		fresh.Visibility = *r.Visibility
	}
	left.SuccessorID, left.UpdateTime = fresh.ID, r.Time
	end := r.Time.Add(r.Grace)
	switch {
	case r.Grace <= 0:
		left.Status, left.RevocationReason = StatusRevoked, ReasonSuperseded
	case old.ExpireTime.IsZero() || end.Before(old.ExpireTime):
		left.ExpireTime = end
	}
	return fresh, left, nil
}

// rotatable says why a key cannot be rotated at a moment; nil: it can.
func rotatable(k *Key, now time.Time) error {
	switch {
	case k.IsSuspended():
		return NewError(FailedPrecondition, "the key is suspended: it cannot be rotated; resume it first")
	case k.Status == StatusRevoked:
		return NewError(FailedPrecondition, "the key is revoked: it cannot be rotated")
	case k.SuccessorID != "":
		return NewError(FailedPrecondition, "the key has been rotated already: its successor is "+k.SuccessorID)
	}
	switch k.StatusAt(now) {
	case StatusActive:
		return nil
	case StatusExpired:
		return NewError(FailedPrecondition, "the key has expired: it cannot be rotated")
	default:
		return NewError(Internal, "the key has an unknown status")
	}
}

// Suspension is a request to refuse a key until it is resumed.
type Suspension struct {
	Time time.Time
}

// Of returns what becomes of a key. One that is revoked or suspended is [FailedPrecondition].
func (s *Suspension) Of(k Key) (Key, error) {
	switch {
	case k.IsSuspended():
		return Key{}, NewError(FailedPrecondition, "the key is suspended already")
	case k.Status != StatusActive:
		return Key{}, NewError(FailedPrecondition, "the key is revoked: it cannot be suspended")
	}
	k.Status, k.SuspendTime, k.UpdateTime = StatusRevoked, s.Time, s.Time
	return k, nil
}

// Resumption is a request to accept a suspended key again.
type Resumption struct {
	Time  time.Time
	Quota int64 // of active keys, see [Store.Resume]; 0: no limit
}

// Of returns what becomes of a key: what it was before it was suspended. One that is not suspended is
// [FailedPrecondition].
func (r *Resumption) Of(k Key) (Key, error) {
	switch {
	case k.IsSuspended():
	case k.Status == StatusRevoked:
		return Key{}, NewError(FailedPrecondition, "the key is revoked, for good: it cannot be resumed")
	default:
		return Key{}, NewError(FailedPrecondition, "the key is not suspended: it cannot be resumed")
	}
	k.Status, k.SuspendTime, k.UpdateTime = StatusActive, time.Time{}, r.Time
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
	Now     time.Time // decides which keys have expired

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
