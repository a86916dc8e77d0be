package verify

import (
	"math"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// entry is a verdict that is remembered. Only state, failed and used change in a cache.
type entry struct {
	digest   digest
	position uint64 // every change up to it is in the verdict

	// The moment before the look-up, by both clocks. The steady clock cannot be set but stops while a machine
	// sleeps; the wall clock is the other way around. The older of the two ages counts.
	steady time.Duration // since the verifier was made
	wall   int64         // Unix nanoseconds

	ttl       time.Duration // counts from the look-up, or from the last moment at which the table was complete
	connected time.Duration // counts from the look-up

	slot   feed.Slot
	state  atomic.Uint32
	failed atomic.Uint32 // when the last look-up failed that was to replace the entry; 0: it did not
	used   atomic.Uint32 // when a hit was last recorded as a use, in Unix seconds; 0: not yet
	size   uint32        // of the entry and all of its verdict in memory, in bytes

	// The verdict and its scopes lie beside what is read before them: a hit on one of many entries waits for each piece
	// of memory. The text of a verdict is one more piece, see [core.NewVerdict].
	verdict core.Verdict
	scopes  [3]string
}

// entrySize is the memory of an entry without its verdict, in bytes.
var entrySize = reflect.TypeFor[entry]().Size() - reflect.TypeFor[core.Verdict]().Size()

// newEntry makes an entry with a copy of a verdict. A longer list of scopes than the entry has room for stays where it
// is.
func newEntry(v *core.Verdict) *entry {
	e := &entry{verdict: *v, size: uint32(entrySize) + uint32(v.Size())} //nolint:gosec // below 1 MiB
	if n := len(v.Scopes); n > 0 && n <= len(e.scopes) {
		copy(e.scopes[:], v.Scopes)
		e.verdict.Scopes = e.scopes[:n:n]
	}
	return e
}

// The bits of entry.state.
const (
	stateLeft       = 1 << iota // it is in no cache any more
	stateRefreshing             // a look-up in the background is to replace it, or has
	stateRetracted              // the source has said something else since
)

// denied marks an entry that is no verdict: it says that the source has since said no, and is never an answer.
var denied = new(core.Verdict)

// newer reports whether what e says was learned after what other says, or at the same time.
func (e *entry) newer(other *entry) bool {
	if e.position != other.position {
		return e.position > other.position
	}
	return e.steady >= other.steady
}

// clock is one reading of the clocks.
type clock struct {
	now    time.Time
	steady time.Duration
	wall   int64
}

func (v *Verifier) clock() clock {
	now := time.Now()
	return clock{now: now, steady: now.Sub(v.base), wall: now.UnixNano()}
}

// age is how long ago the look-up began.
func (e *entry) age(c *clock) time.Duration {
	return max(c.steady-e.steady, time.Duration(c.wall-e.wall))
}

// left is how much of the entry's lifetime is left, zero or less for none. completeAt is the last moment at which the
// table of positions was complete, see [feed.Positions.CompleteAt].
func (e *entry) left(c *clock, completeAt int64) time.Duration {
	age := e.age(c)
	return min(e.ttl-min(age, completeAge(c, completeAt)), e.connected-age)
}

// completeAge is how long ago the table of positions was complete. A moment in the future is one before the clock was
// set back: nobody knows how long ago that was.
func completeAge(c *clock, completeAt int64) time.Duration {
	const skew = time.Second // readings of the clock on two processors
	age := time.Duration(c.wall - completeAt)
	if completeAt == 0 || age < -skew {
		return math.MaxInt64
	}
	return max(age, 0)
}

// tick is a reading for entry.failed: tenths of a second since the verifier was made, from 1.
func (c *clock) tick() uint32 {
	return uint32(c.steady/(100*time.Millisecond)) + 1 //nolint:gosec // wraps after 13 years
}

// tick is the present in the form of entry.failed.
func (v *Verifier) tick() uint32 {
	c := v.clock()
	return c.tick()
}

// sinceTick is how long ago a tick was; ok is false if there was none.
func sinceTick(t uint32, c *clock) (d time.Duration, ok bool) {
	return time.Duration(c.tick()-t) * 100 * time.Millisecond, t != 0
}

// lifetime returns how long a verdict that was looked up at c may be cached, and whether it may be at all.
func (v *Verifier) lifetime(verdict *core.Verdict, c *clock) (ttl, connected time.Duration, ok bool) {
	if verdict.Code != core.CodeValid {
		ttl = v.config.NegativeTTL
		return ttl, ttl, ttl >= minTTL
	}
	jitter := 0.9 + rand.Float64()/5 //nolint:gosec // spreads look-ups, keeps no secret
	ttl = max(time.Duration(jitter*float64(v.config.TTL)), minTTL)
	connected = max(time.Duration(jitter*float64(v.config.TTLConnected)), ttl)
	if end := verdict.End(); !end.IsZero() {
		rest := end.Sub(c.now)
		ttl, connected = min(ttl, rest), min(connected, rest)
		if time.Until(end) < minTTL { // the look-up took a part of it
			return ttl, connected, false
		}
	}
	return ttl, connected, ttl >= minTTL
}

// remember puts a verdict that was looked up at c into the cache, if it is one to be cached. One that is not, and says
// no, still ends the good one that was known: a source that fails a moment later does not bring it back.
func (v *Verifier) remember(d digest, l *outcome, c *clock) {
	switch l.verdict.Code {
	case core.CodeValid, core.CodeNotFound, core.CodeRevoked, core.CodeExpired, core.CodeInvalidFormat,
		core.CodeSignatureInvalid:
	case core.CodeRateLimited: // the key is as good as it was
		return
	default: // it is about the request, or not known
		v.deny(d, l, c)
		return
	}
	e := newEntry(l.verdict)
	e.digest, e.position, e.slot, e.steady, e.wall = d, l.position, l.slot, c.steady, c.wall
	good := l.verdict.Code == core.CodeValid
	var cacheable bool
	e.ttl, e.connected, cacheable = v.lifetime(l.verdict, c)
	switch {
	case cacheable:
		v.cache.put(e, good)
	case !good:
		v.deny(d, l, c)
	case v.cache.retract(v.cache.good, e):
		v.cache.retract(v.cache.bad, e)
	}
}

// deny notes that the source said no at c with nothing that could be cached: what was known before is over, and so is a
// good verdict from before that is still on its way into the cache.
func (v *Verifier) deny(d digest, l *outcome, c *clock) {
	e := newEntry(denied)
	e.digest, e.position, e.slot, e.steady, e.wall = d, l.position, l.slot, c.steady, c.wall
	e.ttl, e.connected = math.MinInt64, math.MinInt64
	v.cache.put(e, false)
}
