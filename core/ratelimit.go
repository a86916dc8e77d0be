package core

import (
	"time"
)

// Bounds of a rate limit.
const (
	MaxRateLimitWindow = 366 * 24 * time.Hour
	MaxRateLimitUnit   = 64 // bytes
)

// RateLimitPolicy says how often a key may be used: Quota times in each Window. The zero value sets no limit.
type RateLimitPolicy struct {
	Quota  int64         // 1 or more
	Unit   string        // what is counted, in the operator's words ("requests"); it is stored, and changes nothing
	Window time.Duration // whole seconds, from 1 s to [MaxRateLimitWindow]
}

// IsZero says whether there is no limit.
func (p RateLimitPolicy) IsZero() bool { return p.Quota == 0 }
