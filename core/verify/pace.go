package verify

import (
	"errors"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// The bounds of the time between two calls of a source that asks for fewer.
const (
	minPause = 100 * time.Millisecond
	maxPause = 30 * time.Second
)

// Pace spaces the calls of a source that has answered that there are too many: the time between two of them doubles
// each time it says so and halves each time it does not, so that it settles at what the source allows. The zero Pace
// does not wait. It is not safe for concurrent use.
type Pace struct {
	pause time.Duration
	from  time.Time // when the next call may go
}

// Open reports whether a call may go.
func (p *Pace) Open(now time.Time) bool { return !now.Before(p.from) }

// Left is how long no call may go.
func (p *Pace) Left(now time.Time) time.Duration { return p.from.Sub(now) }

// Sent notes that a call goes.
func (p *Pace) Sent(now time.Time) { p.from = now.Add(p.pause) }

// Slower notes that the source refused a call. The pause is never longer than the error's RetryAfter, if it has one.
func (p *Pace) Slower(now time.Time, err error) {
	longest := maxPause
	if e, ok := errors.AsType[*core.Error](err); ok && e.RetryAfter > 0 {
		longest = min(max(e.RetryAfter, minPause), maxPause)
	}
	p.pause = min(max(2*p.pause, minPause), longest)
	p.from = now.Add(p.pause)
}

// Faster notes that the source answered a call: the wait for the next one, which has begun, is half as long, too.
func (p *Pace) Faster() {
	before := p.pause
	if p.pause /= 2; p.pause < minPause {
		p.pause = 0
	}
	p.from = p.from.Add(p.pause - before)
}
