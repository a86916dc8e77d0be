package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/talos-edge/talos-edge/core"
)

// validate checks the fields that a caller sets.
func validate(k *core.Key) error {
	for _, f := range []struct{ name, value string }{{"name", k.Name}, {"actor_id", k.ActorID}} {
		if err := validateText(f.name, f.value); err != nil {
			return err
		}
	}
	if utf8.RuneCountInString(k.RequestID) > core.MaxRequestIDLength {
		return badRequest("request_id: must not be longer than %d characters", core.MaxRequestIDLength)
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
	case len(value) > core.MaxNameLength:
		return badRequest("%s: must not be longer than %d bytes", field, core.MaxNameLength)
	case !utf8.ValidString(value) || strings.IndexByte(value, 0) >= 0:
		return badRequest("%s: must be UTF-8 text without NUL", field)
	}
	return nil
}

func validateScopes(scopes []string) error {
	length := -1 // the first has no space before it
	for _, s := range scopes {
		if !core.ValidScope(s) {
			return errScopes()
		}
		length += 1 + len(s)
	}
	if length > core.MaxScopesLength {
		return badRequest("scopes: must not be longer than %d bytes in all", core.MaxScopesLength)
	}
	return nil
}

func errScopes() error {
	return badRequest(
		`scopes: each is one or more printable ASCII characters without space, " and \ (RFC 6749, section 3.3)`)
}

func validateCIDRs(ranges []netip.Prefix) error {
	if len(ranges) > core.MaxCIDRs {
		return badRequest("ip_restriction: must not hold more than %d ranges", core.MaxCIDRs)
	}
	for _, p := range ranges {
		if !p.IsValid() {
			return badRequest("ip_restriction: a range is not valid")
		}
	}
	return nil
}

func validateVisibility(v core.Visibility) error {
	if v != core.VisibilitySecret && v != core.VisibilityPublic {
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
	if b.Len() > core.MaxMetadataLength {
		return nil, badRequest("metadata: must not be longer than %d bytes", core.MaxMetadataLength)
	}
	return b.Bytes(), nil
}

// normalizeRateLimit returns a policy that is well formed. A quota of 0 is no policy, whatever the other fields are.
func normalizeRateLimit(p core.RateLimitPolicy) (core.RateLimitPolicy, error) {
	if p.IsZero() {
		return core.RateLimitPolicy{}, nil
	}
	switch {
	case p.Quota < 0:
		return core.RateLimitPolicy{}, badRequest("rate_limit_policy: quota must not be negative; 0 is no limit")
	case p.Window < time.Second || p.Window > core.MaxRateLimitWindow || p.Window%time.Second != 0:
		return core.RateLimitPolicy{}, badRequest("rate_limit_policy: window must be whole seconds between 1s and %s",
			core.FormatSeconds(core.MaxRateLimitWindow))
	case len(p.Unit) > core.MaxRateLimitUnit || !utf8.ValidString(p.Unit) || !printable(p.Unit):
		return core.RateLimitPolicy{}, badRequest(
			"rate_limit_policy: unit must be printable and not longer than %d bytes", core.MaxRateLimitUnit)
	}
	return p, nil
}

// printable says whether s has no control characters.
func printable(s string) bool {
	for _, c := range s {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// normalizePatch checks what a patch sets, by the rules of new keys, and returns it as it is stored.
func normalizePatch(p *core.Patch) (n core.Patch, err error) {
	n = *p
	if p.Name != nil {
		if err := validateText(PathName, *p.Name); err != nil {
			return core.Patch{}, err
		}
		n.Name = new(*p.Name)
	}
	if p.Scopes != nil {
		if err := validateScopes(*p.Scopes); err != nil {
			return core.Patch{}, err
		}
		n.Scopes = new(slices.Clone(*p.Scopes))
	}
	if p.Metadata != nil {
		metadata, err := normalizeMetadata(*p.Metadata)
		if err != nil {
			return core.Patch{}, err
		}
		n.Metadata = &metadata
	}
	if p.RateLimit != nil {
		limit, err := normalizeRateLimit(*p.RateLimit)
		if err != nil {
			return core.Patch{}, err
		}
		n.RateLimit = &limit
	}
	if p.AllowedCIDRs != nil {
		if err := validateCIDRs(*p.AllowedCIDRs); err != nil {
			return core.Patch{}, err
		}
		n.AllowedCIDRs = new(slices.Clone(*p.AllowedCIDRs))
	}
	return n, nil
}

func badRequest(format string, args ...any) error {
	return core.NewError(core.BadRequest, fmt.Sprintf(format, args...))
}
