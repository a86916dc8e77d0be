package core

import (
	"time"
	"unicode/utf8"
)

// Bounds of a rate limit.
const (
	MaxRateLimitWindow = 366 * 24 * time.Hour
	MaxRateLimitUnit   = 64 // bytes
)

// RateLimitPolicy says how often a key may be used: Quota times in each Window. The zero value sets no limit.
type RateLimitPolicy struct {
	Quota  int64         // 1 or more
	Unit   string        // what is counted, in the operator's words ("requests"); it is kept, and changes nothing
	Window time.Duration // whole seconds, from 1 s to [MaxRateLimitWindow]
}

// IsZero says whether there is no limit.
func (p RateLimitPolicy) IsZero() bool { return p.Quota == 0 }

// normalizeRateLimit returns a policy that is well formed. A quota of 0 is no policy, whatever the other fields are.
func normalizeRateLimit(p RateLimitPolicy) (RateLimitPolicy, error) {
	if p.IsZero() {
		return RateLimitPolicy{}, nil
	}
	switch {
	case p.Quota < 0:
		return RateLimitPolicy{}, badRequest("rate_limit_policy: quota must not be negative; 0 is no limit")
	case p.Window < time.Second || p.Window > MaxRateLimitWindow || p.Window%time.Second != 0:
		return RateLimitPolicy{}, badRequest("rate_limit_policy: window must be whole seconds between 1s and %s",
			FormatSeconds(MaxRateLimitWindow))
	case len(p.Unit) > MaxRateLimitUnit || !utf8.ValidString(p.Unit) || !printable(p.Unit):
		return RateLimitPolicy{}, badRequest("rate_limit_policy: unit must be printable and not longer than %d bytes",
			MaxRateLimitUnit)
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
