package engine

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
)

// The paths of an update mask: the fields of a key that can be changed.
const (
	PathName      = "name"
	PathScopes    = "scopes"
	PathMetadata  = "metadata"
	PathRateLimit = "rate_limit_policy"
	PathCIDRs     = "ip_restriction"
)

// UpdateRequest asks to change the fields of a key that its mask names. A field that is named and empty is cleared.
type UpdateRequest struct {
	Mask         []string // of the Path constants
	Name         string
	Scopes       []string
	Metadata     json.RawMessage // a JSON object; nil or null: none
	RateLimit    core.RateLimitPolicy
	AllowedCIDRs []netip.Prefix
}

// Update changes fields of a key of a kind and returns it. When it returns nil, no verification on this node that
// begins later sees the old fields. Another path than those that can be changed, and a value that is not well formed,
// are [core.BadRequest]; a revoked key is [core.FailedPrecondition]. Without a path nothing changes.
func (e *Engine) Update(ctx context.Context, kind core.Kind, keyID string, r UpdateRequest) (core.Key, error) {
	patch, err := r.patch()
	if err != nil {
		return core.Key{}, err
	}
	return e.store.Update(ctx, e.network, kind, keyID, core.Update{Patch: patch, Time: now()})
}

// patch checks the request and makes a patch of it.
func (r *UpdateRequest) patch() (p core.Patch, err error) {
	for _, path := range r.Mask {
		switch path {
		case PathName:
			p.Name = &r.Name
		case PathScopes:
			p.Scopes = &r.Scopes
		case PathMetadata:
			p.Metadata = &r.Metadata
		case PathRateLimit:
			p.RateLimit = &r.RateLimit
		case PathCIDRs:
			p.AllowedCIDRs = &r.AllowedCIDRs
		default:
			return core.Patch{}, badRequest("update_mask: %.64q is not one of %s, %s, %s, %s and %s", path,
				PathName, PathScopes, PathMetadata, PathRateLimit, PathCIDRs)
		}
	}
	return normalizePatch(&p)
}

// RotateRequest says what the new key has that the old one has not. Fields that are nil are inherited; a pointer to a
// zero value clears.
type RotateRequest struct {
	core.Patch
	Visibility core.Visibility // VisibilityUnknown: the old key's

	// Grace is how long the old key stays valid, 0 to [core.MaxGrace], but not beyond its own expiry. 0: it is revoked.
	Grace time.Duration
}

// Rotate replaces an issued key that is active and not expired by a new one: in one transaction the new one is
// made, with the old one's expiry, limit and count of uses, and the old one revoked as superseded or, with a grace
// period, made to expire at its end. The secret is returned this once. An old key that is revoked, suspended, expired
// or rotated already is [core.FailedPrecondition]. Both keys of a grace period count for the quota: where it is full, a
// rotation with one is [core.KeyQuotaExceeded].
func (e *Engine) Rotate(ctx context.Context, keyID string, r RotateRequest) (
	fresh, old core.Key, secret string, err error,
) {
	fail := func(err error) (core.Key, core.Key, string, error) { return core.Key{}, core.Key{}, "", err }
	patch, err := normalizePatch(&r.Patch)
	if err != nil {
		return fail(err)
	}
	if r.Grace < 0 || r.Grace > core.MaxGrace {
		return fail(badRequest("grace: must lie between 0s and %s (30 days)", core.FormatSeconds(core.MaxGrace)))
	}
	rotation := core.Rotation{
		Patch: patch, NewKeyID: uuid.NewString(), Time: now(),
		Grace: r.Grace.Truncate(time.Microsecond), Quota: e.quota,
	}
	visibility := r.Visibility
	if visibility == core.VisibilityUnknown {
		// The secret's prefix shows the visibility. A key's never changes, so it may be read ahead.
		if old, err = e.Get(ctx, core.Issued, keyID); err != nil {
			return fail(err)
		}
		visibility = old.Visibility
	} else {
		rotation.Visibility = &visibility
	}
	if err := validateVisibility(visibility); err != nil {
		return fail(err)
	}
	if secret, err = e.mint(rotation.NewKeyID, rotation.Time, visibility); err != nil {
		return fail(err)
	}
	rotation.Prefix = e.format.Prefix(visibility == core.VisibilityPublic)
	fresh, old, err = e.store.Rotate(ctx, e.network, keyID, rotation)
	if err != nil {
		return fail(err)
	}
	return fresh, old, secret, nil
}

// Delete removes an imported key for good. When it returns nil, no verification on this node that begins later finds
// it. A key that is not there or was issued is [core.KeyNotFound].
func (e *Engine) Delete(ctx context.Context, keyID string) error {
	return e.store.Delete(ctx, e.network, keyID, core.Deletion{Time: now()})
}
