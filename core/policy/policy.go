package policy

import (
	"net/netip"
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
	if !core.AllowsAddress(v.AllowedCIDRs, r.Client) {
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
	if !v.ExpireTime.IsZero() && (now.IsZero() || !now.Before(v.End())) {
		return core.CodeExpired
	}
	return core.CodeValid
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
		if core.Covers(scope, asked) {
			return true
		}
	}
	return false
}
