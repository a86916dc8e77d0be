package policy

import (
	"net/netip"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// Visibility says which keys a route takes.
type Visibility uint8

// The choices of a route. The zero value takes secret keys only.
const (
	Secret Visibility = iota
	Public
	Any
)

// Rules are what a route asks of a key. Scopes are literal: only the ones that keys hold may have a wildcard.
type Rules struct {
	Scopes     []string // all of them
	AnyScope   []string // at least one, if there are any
	Visibility Visibility
}

// Request is what the decision needs to know of a request.
type Request struct {
	Now    time.Time
	Client netip.Addr // the client's address; the zero value for one that could not be read
}

// Judge decides whether the key behind a verdict may make a request. It returns [core.CodeValid] or the first reason
// against it. The rules may be nil: the verdict, its expiry and its address list count nevertheless.
func Judge(v *core.Verdict, r Request, rules *Rules) core.Code {
	if code := judgeKey(v, r.Now); code != core.CodeValid {
		return code
	}
	if !allowsAddress(v.AllowedCIDRs, r.Client) {
		return core.CodeIPNotAllowed
	}
	if rules == nil {
		return core.CodeValid
	}
	if !allowsVisibility(rules.Visibility, v.Visibility) {
		return core.CodeVisibilityDenied
	}
	if !holdsAll(v.Scopes, rules.Scopes) || len(rules.AnyScope) > 0 && !holdsAny(v.Scopes, rules.AnyScope) {
		return core.CodeScopeMissing
	}
	return core.CodeValid
}

// judgeKey judges the verdict itself and the time.
func judgeKey(v *core.Verdict, now time.Time) core.Code {
	if v == nil || v.Code > core.CodeVisibilityDenied {
		return core.CodeInternal
	}
	if v.Code != core.CodeValid {
		return v.Code
	}
	switch v.Status {
	case core.StatusActive:
	case core.StatusRevoked:
		return core.CodeRevoked
	case core.StatusExpired:
		return core.CodeExpired
	default:
		return core.CodeInternal
	}
	// A request without a time is later than any.
	if !v.ExpireTime.IsZero() && (now.IsZero() || !now.Before(v.ExpireTime)) {
		return core.CodeExpired
	}
	return core.CodeValid
}

// allowsAddress tells whether a list, if there is one, has the address. The zone of an address says which interface of
// ours it was seen at, and nothing about the range.
func allowsAddress(list []netip.Prefix, client netip.Addr) bool {
	if len(list) == 0 {
		return true
	}
	client = client.Unmap().WithZone("")
	for _, p := range list {
		if p.Contains(client) {
			return true
		}
	}
	return false
}

func allowsVisibility(asked Visibility, held core.Visibility) bool {
	switch held {
	case core.VisibilitySecret:
		return asked == Secret || asked == Any
	case core.VisibilityPublic:
		return asked == Public || asked == Any
	default:
		return false
	}
}

func holdsAll(held, asked []string) bool {
	for _, scope := range asked {
		if !holds(held, scope) {
			return false
		}
	}
	return true
}

func holdsAny(held, asked []string) bool {
	for _, scope := range asked {
		if holds(held, scope) {
			return true
		}
	}
	return false
}

func holds(held []string, asked string) bool {
	for _, scope := range held {
		if Covers(scope, asked) {
			return true
		}
	}
	return false
}

// Covers tells whether a scope that a key holds grants one that a route asks for. `*` grants every scope; one that ends
// in `:*` grants what begins with the part before the star; any other grants itself. The asked one is literal, and an
// empty one is never granted.
func Covers(held, asked string) bool {
	if asked == "" {
		return false
	}
	if held == asked || held == "*" {
		return true
	}
	prefix, wild := strings.CutSuffix(held, "*")
	return wild && strings.HasSuffix(prefix, ":") && strings.HasPrefix(asked, prefix)
}
