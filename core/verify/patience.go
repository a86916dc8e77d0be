package verify

import (
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// errFull is the answer when more look-ups wait than may, errLate that of a look-up whose time is over.
var (
	errFull error = &core.Error{
		Reason: core.Unavailable, Message: "too many look-ups are waiting", RetryAfter: time.Second,
	}
	errLate error = &core.Error{
		Reason: core.Unavailable, Message: "the look-up took too long", RetryAfter: time.Second,
	}
)

// patience is how long a look-up may wait for its call. Whoever waits longer is refused, so that every call has the
// time that it needs: with one deadline for both and no such bound, a source that gets more than it can answer would
// be asked only what is about to be given up.
//
// A burst may wait for half of the timeout. When more has been waiting than the next calls take for as long as that,
// it is no burst, and the wait only delays those who are answered: it is shortened to two calls, but never under an
// eighth of the timeout. mu is held.
func (v *Verifier) patience(l *lookup) time.Duration {
	t := v.config.LookupTimeout
	patience := min(t/2, t-v.took-v.took/8)
	if !l.known() && time.Since(v.calm) > t/2 {
		patience = min(patience, 2*v.took)
	}
	return max(patience, t/8)
}

// noteLoad notes when no more waits than the next calls take. mu is held.
func (v *Verifier) noteLoad() {
	if v.queue.waiting <= v.queue.calls*v.queue.items {
		v.calm = time.Now()
	}
}

// errPaused is the answer while the source is asked for fewer calls than come.
func errPaused(pause time.Duration) error {
	return &core.Error{Reason: core.Unavailable, Message: "the source is asked too often", RetryAfter: pause}
}
