package core

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Bounds of a key's fields.
const (
	MaxNameLength      = 1024 // bytes, of the name and of the actor id
	MaxScopesLength    = 4096 // bytes, of all scopes with a space between each two
	MaxMetadataLength  = 4096 // bytes of JSON without white space
	MaxCIDRs           = 128
	MaxRequestIDLength = 36 // characters
)

// IssueRequest asks for a new key.
type IssueRequest struct {
	Name         string
	ActorID      string
	Scopes       []string
	TTL          *time.Duration // nil: the network's default
	Metadata     json.RawMessage
	AllowedCIDRs []netip.Prefix
	RateLimit    RateLimitPolicy
	Visibility   Visibility // VisibilityUnknown: secret
	RequestID    string     // makes the call idempotent
}

// Issue makes a new key and its secret, which is returned this once and kept nowhere. A request with a RequestID that
// the network has seen returns that key with an empty secret. A request that is not well formed is [BadRequest]; a full
// quota is [KeyQuotaExceeded].
func (e *Engine) Issue(ctx context.Context, r IssueRequest) (key Key, secret string, err error) {
	if key, err = e.newKey(&r, Issued, uuid.NewString(), now()); err != nil {
		return Key{}, "", err
	}
	if secret, err = e.mint(key.ID, key.CreateTime, key.Visibility); err != nil {
		return Key{}, "", err
	}
	stored, isNew, err := e.create(ctx, key)
	if err != nil {
		return Key{}, "", err
	}
	if !isNew {
		secret = ""
	}
	return stored, secret, nil
}

// newKey makes the record of a new key.
func (e *Engine) newKey(r *IssueRequest, kind Kind, id string, created time.Time) (key Key, err error) {
	key = Key{
		Network:      e.network,
		ID:           id,
		Kind:         kind,
		Name:         r.Name,
		ActorID:      r.ActorID,
		Scopes:       r.Scopes,
		Visibility:   r.Visibility,
		AllowedCIDRs: r.AllowedCIDRs,
		RequestID:    r.RequestID,
		Status:       StatusActive,
		CreateTime:   created,
		UpdateTime:   created,
	}
	if key.Visibility == VisibilityUnknown {
		key.Visibility = VisibilitySecret
	}
	if key.Metadata, err = normalizeMetadata(r.Metadata); err != nil {
		return Key{}, err
	}
	if key.RateLimit, err = normalizeRateLimit(r.RateLimit); err != nil {
		return Key{}, err
	}
	if key.ExpireTime, err = e.expiry(created, r.TTL); err != nil {
		return Key{}, err
	}
	if err := validate(&key); err != nil {
		return Key{}, err
	}
	return key, nil
}

// mint makes the secret of an issued key.
func (e *Engine) mint(keyID string, created time.Time, v Visibility) (secret string, err error) {
	public := v == VisibilityPublic
	if public && !e.format.HasPublic() {
		return "", badRequest("visibility: no prefix for public keys is configured on this server")
	}
	if secret, err = e.format.Mint(uuid.MustParse(keyID), created, public); err != nil {
		return "", WrapError(Internal, "the key could not be made", err)
	}
	return secret, nil
}

// create stores a new key within the network's quota.
func (e *Engine) create(ctx context.Context, key Key) (stored Key, created bool, err error) {
	if e.quota == 0 {
		return e.store.Create(ctx, key)
	}
	results, err := e.createMany(ctx, []Key{key})
	if err != nil {
		return Key{}, false, err
	}
	return results[0].Key, results[0].Created, results[0].Err
}

// createMany stores new keys within the network's quota. There is one result for each.
func (e *Engine) createMany(ctx context.Context, keys []Key) ([]CreateResult, error) {
	results, err := e.store.CreateMany(ctx, e.network, keys, e.quota)
	if err != nil {
		return nil, err
	}
	if len(results) != len(keys) {
		return nil, NewError(Internal, "the store answered for another number of keys than it was given")
	}
	return results, nil
}

// expiry is when a key of a ttl expires.
func (e *Engine) expiry(created time.Time, ttl *time.Duration) (time.Time, error) {
	life := e.defaultTTL
	if ttl != nil {
		life = *ttl
		if life < time.Second || life > e.maxTTL {
			return time.Time{}, badRequest("ttl: must lie between 1s and %s", FormatSeconds(e.maxTTL))
		}
	}
	if life == 0 {
		return time.Time{}, nil
	}
	return created.Add(life), nil
}

// validate checks the fields that a caller sets.
func validate(k *Key) error {
	for _, f := range []struct{ name, value string }{{"name", k.Name}, {"actor_id", k.ActorID}} {
		if err := validateText(f.name, f.value); err != nil {
			return err
		}
	}
	if utf8.RuneCountInString(k.RequestID) > MaxRequestIDLength {
		return badRequest("request_id: must not be longer than %d characters", MaxRequestIDLength)
	}
	if !utf8.ValidString(k.RequestID) || strings.IndexByte(k.RequestID, 0) >= 0 {
		return badRequest("request_id: must be UTF-8 text without NUL")
	}
	if err := validateScopes(k.Scopes); err != nil {
		return err
	}
	if err := validateCIDRs(k.AllowedCIDRs); err != nil {
		return err
	}
	return validateVisibility(k.Visibility)
}

// validateText checks a name or an actor id.
func validateText(field, value string) error {
	switch {
	case value == "":
		return badRequest("%s: is required", field)
	case len(value) > MaxNameLength:
		return badRequest("%s: must not be longer than %d bytes", field, MaxNameLength)
	case !utf8.ValidString(value) || strings.IndexByte(value, 0) >= 0:
		return badRequest("%s: must be UTF-8 text without NUL", field)
	}
	return nil
}

func validateScopes(scopes []string) error {
	length := -1 // the first has no space before it
	for _, s := range scopes {
		if !ValidScope(s) {
			return errScopes()
		}
		length += 1 + len(s)
	}
	if length > MaxScopesLength {
		return badRequest("scopes: must not be longer than %d bytes in all", MaxScopesLength)
	}
	return nil
}

func validateCIDRs(ranges []netip.Prefix) error {
	if len(ranges) > MaxCIDRs {
		return badRequest("ip_restriction: must not hold more than %d ranges", MaxCIDRs)
	}
	for _, p := range ranges {
		if !p.IsValid() {
			return badRequest("ip_restriction: a range is not valid")
		}
	}
	return nil
}

func validateVisibility(v Visibility) error {
	if v != VisibilitySecret && v != VisibilityPublic {
		return badRequest("visibility: unknown value")
	}
	return nil
}

// normalizeMetadata returns a JSON object without white space, or nil for none.
func normalizeMetadata(m json.RawMessage) (json.RawMessage, error) {
	trimmed := bytes.TrimSpace(m)
	if len(trimmed) == 0 || bytes.Equal(trimmed, []byte("null")) {
		return nil, nil
	}
	var b bytes.Buffer
	if trimmed[0] != '{' || !utf8.Valid(trimmed) || json.Compact(&b, trimmed) != nil {
		return nil, badRequest("metadata: must be a JSON object")
	}
	if b.Len() > MaxMetadataLength {
		return nil, badRequest("metadata: must not be longer than %d bytes", MaxMetadataLength)
	}
	return b.Bytes(), nil
}

func badRequest(format string, args ...any) error {
	return NewError(BadRequest, fmt.Sprintf(format, args...))
}
