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
	MaxScopesLength    = 4096 // bytes, of all scopes with a space between
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
	Visibility   Visibility // VisibilityUnknown: secret
	RequestID    string     // makes the call idempotent
}

// Issue makes a new key and its secret, which is returned this once and kept nowhere. A request with a RequestID that
// the network has seen returns that key with an empty secret. A request that is not well formed is [BadRequest].
func (e *Engine) Issue(ctx context.Context, r IssueRequest) (key Key, secret string, err error) {
	created := now()
	key = Key{
		Network:      e.network,
		ID:           uuid.NewString(),
		Kind:         Issued,
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
	public := key.Visibility == VisibilityPublic
	if public && !e.format.HasPublic() {
		return Key{}, "", badRequest("visibility: no prefix for public keys is configured on this server")
	}
	if key.Metadata, err = normalizeMetadata(r.Metadata); err != nil {
		return Key{}, "", err
	}
	if key.ExpireTime, err = e.expiry(created, r.TTL); err != nil {
		return Key{}, "", err
	}
	if err := validate(&key); err != nil {
		return Key{}, "", err
	}
	secret, err = e.format.Mint(uuid.MustParse(key.ID), created, public)
	if err != nil {
		return Key{}, "", WrapError(Internal, "the key could not be made", err)
	}
	stored, isNew, err := e.store.Create(ctx, key)
	if err != nil {
		return Key{}, "", err
	}
	if !isNew {
		secret = ""
	}
	return stored, secret, nil
}

// expiry is when a key of a life expires.
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
		switch {
		case f.value == "":
			return badRequest("%s: is required", f.name)
		case len(f.value) > MaxNameLength:
			return badRequest("%s: must not be longer than %d bytes", f.name, MaxNameLength)
		case !utf8.ValidString(f.value) || strings.IndexByte(f.value, 0) >= 0:
			return badRequest("%s: must be UTF-8 text without NUL", f.name)
		}
	}
	if utf8.RuneCountInString(k.RequestID) > MaxRequestIDLength || !utf8.ValidString(k.RequestID) {
		return badRequest("request_id: must not be longer than %d characters", MaxRequestIDLength)
	}
	length := 0
	for _, s := range k.Scopes {
		if !ValidScope(s) {
			return badRequest(
				`scopes: each is one or more printable ASCII characters without space, " and \ (RFC 6749, section 3.3)`)
		}
		length += len(s) + 1
	}
	if length > MaxScopesLength {
		return badRequest("scopes: must not be longer than %d bytes in all", MaxScopesLength)
	}
	if len(k.AllowedCIDRs) > MaxCIDRs {
		return badRequest("ip_restriction: must not hold more than %d ranges", MaxCIDRs)
	}
	if k.Visibility != VisibilitySecret && k.Visibility != VisibilityPublic {
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
