package ratelimit

import (
	"context"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// Limiter counts uses of keys. It is safe for concurrent use.
type Limiter interface {
	// Take counts one use of a key and says whether it was within the policy. keyID is the id that the key is counted
	// under, see [core.Verdict.CountedAs]. A use that was not within it is not counted: who goes on trying is not
	// locked out for longer. A policy without a quota allows everything and counts nothing.
	//
	// An error means that nothing can be said, because what stores the counts is away or did not answer within ctx. The
	// caller then lets the request through.
	Take(ctx context.Context, network core.NetworkID, keyID string, p core.RateLimitPolicy) (Result, error)

	// Close ends the limiter. Later calls of Take return an error or allow.
	Close() error
}

// Result is what a limiter says of one use.
type Result struct {
	Allowed   bool
	Remaining int64 // how many uses more would be allowed now

	// ResetAfter is how long it takes, without further uses, until the whole quota is there again.
	ResetAfter time.Duration

	// RetryAfter is how long it takes until the next use is allowed; 0 when this one was.
	RetryAfter time.Duration
}

// Cell is a policy as the algorithm takes it.
type Cell struct {
	Interval time.Duration // in which one use comes back
	Room     time.Duration // how far uses may run ahead: the quota in intervals
}

// maxRoom is far beyond what can be used up, and leaves room for a moment beside it.
const maxRoom = time.Duration(1 << 62)

// CellOf returns the cell of a policy that has a quota. unit is the step of the clock that it is used with: intervals
// are whole units, rounded down. With nanoseconds the rate is off by less than a thousandth up to 10^6 uses a second,
// with microseconds up to 10^3. The quota at once is exact.
func CellOf(p core.RateLimitPolicy, unit time.Duration) Cell {
	interval := max((p.Window / time.Duration(p.Quota)).Truncate(unit), unit)
	if p.Quota > int64(maxRoom/interval) {
		return Cell{Interval: interval, Room: maxRoom}
	}
	return Cell{Interval: interval, Room: interval * time.Duration(p.Quota)}
}

// Take decides on one use at a moment. full is when all of the quota is there again, as the uses before left it; next
// is the same after this use. Moments count from any one point of time.
func (c Cell) Take(now, full time.Duration) (r Result, next time.Duration) {
	// A key that has not been used for long has no more than its quota; one whose policy was tightened since, or
	// whose clock was set back, does not owe more than all of it.
	full = min(max(full, now), now+c.Room)
	next = full + c.Interval
	if ahead := next - now; ahead > c.Room {
		return Result{ResetAfter: full - now, RetryAfter: ahead - c.Room}, full
	}
	return Result{Allowed: true, Remaining: int64((c.Room - (next - now)) / c.Interval), ResetAfter: next - now}, next
}
