package engine

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
)

// IssueRequest asks for a new key.
type IssueRequest struct {
	Name         string
	ActorID      string
	Scopes       []string
	TTL          *time.Duration // nil: the network's default
	Metadata     json.RawMessage
	AllowedCIDRs []netip.Prefix
	RateLimit    core.RateLimitPolicy
	Visibility   core.Visibility // VisibilityUnknown: secret
	RequestID    string          // makes the call idempotent
}

// Issue makes a new key and its secret, which is returned this once and stored nowhere. A request with a RequestID that
// the network has seen returns that key with an empty secret. A request that is not well formed is [core.BadRequest]; a
// full quota is [core.KeyQuotaExceeded].
func (e *Engine) Issue(ctx context.Context, r IssueRequest) (key core.Key, secret string, err error) {
	if key, err = e.newKey(&r, core.Issued, uuid.NewString(), now()); err != nil {
		return core.Key{}, "", err
	}
	if secret, err = e.mint(key.ID, key.CreateTime, key.Visibility); err != nil {
		return core.Key{}, "", err
	}
	key.Prefix = e.format.Prefix(key.Visibility == core.VisibilityPublic)
	stored, isNew, err := e.create(ctx, key)
	if err != nil {
		return core.Key{}, "", err
	}
	if !isNew {
		secret = ""
	}
	return stored, secret, nil
}

// newKey makes the record of a new key.
func (e *Engine) newKey(r *IssueRequest, kind core.Kind, id string, created time.Time) (key core.Key, err error) {
	key = core.Key{
		Network:      e.network,
		ID:           id,
		Kind:         kind,
		Name:         r.Name,
		ActorID:      r.ActorID,
		Scopes:       r.Scopes,
		Visibility:   r.Visibility,
		AllowedCIDRs: r.AllowedCIDRs,
		RequestID:    r.RequestID,
		Status:       core.StatusActive,
		CreateTime:   created,
		UpdateTime:   created,
	}
	if key.Visibility == core.VisibilityUnknown {
		key.Visibility = core.VisibilitySecret
	}
	if key.Metadata, err = normalizeMetadata(r.Metadata); err != nil {
		return core.Key{}, err
	}
	if key.RateLimit, err = normalizeRateLimit(r.RateLimit); err != nil {
		return core.Key{}, err
	}
	if key.ExpireTime, err = e.expiry(created, r.TTL); err != nil {
		return core.Key{}, err
	}
	if err := validate(&key); err != nil {
		return core.Key{}, err
	}
	return key, nil
}

// mint makes the secret of an issued key.
func (e *Engine) mint(keyID string, created time.Time, v core.Visibility) (secret string, err error) {
	public := v == core.VisibilityPublic
	if public && !e.format.HasPublic() {
		return "", badRequest("visibility: no prefix for public keys is configured on this server")
	}
	if secret, err = e.format.Mint(uuid.MustParse(keyID), created, public); err != nil {
		return "", core.WrapError(core.Internal, "the key could not be made", err)
	}
	return secret, nil
}

// create stores a new key within the network's quota.
func (e *Engine) create(ctx context.Context, key core.Key) (stored core.Key, created bool, err error) {
	if e.quota == 0 {
		return e.store.Create(ctx, key)
	}
	results, err := e.createMany(ctx, []core.Key{key})
	if err != nil {
		return core.Key{}, false, err
	}
	return results[0].Key, results[0].Created, results[0].Err
}

// createMany stores new keys within the network's quota. There is one result for each.
func (e *Engine) createMany(ctx context.Context, keys []core.Key) ([]core.CreateResult, error) {
	results, err := e.store.CreateMany(ctx, e.network, keys, e.quota)
	if err != nil {
		return nil, err
	}
	if len(results) != len(keys) {
		return nil, core.NewError(core.Internal, "the store answered for another number of keys than it was given")
	}
	return results, nil
}

// expiry is when a key of a ttl expires.
func (e *Engine) expiry(created time.Time, ttl *time.Duration) (time.Time, error) {
	lifetime := e.defaultTTL
	if ttl != nil {
		lifetime = *ttl
		if lifetime < time.Second || lifetime > e.maxTTL {
			return time.Time{}, badRequest("ttl: must lie between 1s and %s", core.FormatSeconds(e.maxTTL))
		}
	}
	if lifetime == 0 {
		return time.Time{}, nil
	}
	return created.Add(lifetime), nil
}
