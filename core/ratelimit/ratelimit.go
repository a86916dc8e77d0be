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

// cell is a policy as the algorithm takes it.
type cell struct {
	interval time.Duration // in which one use comes back
	room     time.Duration // how far uses may run ahead: the quota in intervals
}

// maxRoom is far beyond what can be used up, and leaves room for a moment beside it.
const maxRoom = time.Duration(1 << 62)

// cellOf returns a policy's cell. Intervals are whole nanoseconds, rounded down, so the rate is off by less than a
// thousandth up to 10^6 uses a second; the quota at once is exact.
func cellOf(p core.RateLimitPolicy) cell {
	interval := max(p.Window/time.Duration(p.Quota), 1)
	return cell{interval: interval, room: min(interval*time.Duration(p.Quota), maxRoom)}
}

// take decides on one use at a moment. full is when all of the quota is there again, as the uses before left it; next
// is the same after this use. Moments count from any one point of time.
func (c cell) take(now, full time.Duration) (r Result, next time.Duration) {
	// A key that has not been used for long has no more than its quota; one whose policy was tightened since, or
	// whose clock was set back, does not owe more than all of it.
	full = min(max(full, now), now+c.room)
	next = full + c.interval
	if ahead := next - now; ahead > c.room {
		return Result{ResetAfter: full - now, RetryAfter: ahead - c.room}, full
	}
	return Result{Allowed: true, Remaining: int64((c.room - (next - now)) / c.interval), ResetAfter: next - now}, next
}
