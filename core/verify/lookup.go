package verify

import (
	"container/list"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// lookup is one credential being looked up, for all who wait for it.
type lookup struct {
	Query
	digest   digest
	mode     Mode   // Use: it is shared
	old      *entry // what a good verdict would replace, or nil
	began    uint64 // the position before the look-up
	slot     feed.Slot
	deadline time.Time // of the wait and the call together

	// What follows is guarded by Verifier.mu.
	lane       laneKey
	client     clientKey
	place      *list.Element // in the queue; nil: it does not wait
	timer      *time.Timer   // ends it; nil: the call's own deadline does
	background bool          // nobody waits for it
	ended      bool

	done    chan struct{} // closed when outcome is set
	outcome outcome
}

// outcome is how a look-up ended: with a verdict or an error.
type outcome struct {
	verdict  *core.Verdict
	position uint64    // of the verdict
	slot     feed.Slot // of the key that the verdict names
	err      error
}

// start sees that each query has a look-up: one that is under way and not too old, or a new one. The new ones are
// looked up together. A query that there is no room for gets an error.
func (v *Verifier) start(network core.NetworkID, share netip.Prefix, queries []*query) {
	position := v.positions.Applied()
	refused := v.refused(queries)
	v.mu.Lock()
	defer v.mu.Unlock()
	var added []*lookup
	for _, q := range queries {
		q.lookup, q.joined = v.underWay(q), true
		switch {
		case q.lookup != nil:
			q.lookup.background = false
		case v.stopping:
			q.result = Result{Err: ErrClosed}
		case refused != nil:
			v.noteAttempt(q.old, refused)
			q.result = Result{Err: unavailable(refused)}
		default:
			q.lookup, q.joined = v.newLookup(q, network, share, position), false
			added = append(added, q.lookup)
		}
	}
	v.submit(added)
}

// refused is why the source takes no call for queries, or nil. Where each query has a look-up no call is needed.
func (v *Verifier) refused(queries []*query) error {
	v.mu.Lock()
	needed := slices.ContainsFunc(queries, func(q *query) bool { return v.underWay(q) == nil })
	v.mu.Unlock()
	if !needed {
		return nil
	}
	return v.source.Admit()
}

// startBackground is start for one query that nobody waits for. It returns false when there is a look-up already or
// none may begin.
func (v *Verifier) startBackground(q *query) bool {
	position := v.positions.Applied()
	if err := v.source.Admit(); err != nil {
		v.noteAttempt(q.old, err)
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.underWay(q) != nil || v.stopping || v.queue.waiting >= v.queue.room {
		return false
	}
	l := v.newLookup(q, q.Network, netip.Prefix{}, position)
	l.background = true
	v.submit([]*lookup{l})
	return true
}

// submit queues look-ups and makes the calls that may go. What there is no room for ends. mu is held.
func (v *Verifier) submit(lookups []*lookup) {
	v.noteLoad()
	for _, l := range lookups {
		v.queue.push(l)
	}
	v.send()
	newest := len(lookups)
	for v.queue.waiting > v.queue.room {
		l := v.queue.surplus()
		for l == nil && newest > 0 {
			newest--
			if lookups[newest].place != nil {
				l = lookups[newest]
			}
		}
		if l == nil {
			break // what is to be looked up again has a place in any case
		}
		v.finish(l, outcome{err: errFull})
	}
	now := time.Now()
	for _, l := range lookups {
		patience := v.patience(l)
		if pause := v.queue.paceOf(l).Left(now); pause > patience && l.place != nil {
			v.finish(l, outcome{err: errPaused(pause)})
			continue
		}
		v.endIn(l, patience)
	}
}

// endIn ends a look-up that waits unless its call has begun by then. mu is held.
func (v *Verifier) endIn(l *lookup, d time.Duration) {
	if l.place != nil {
		l.timer = time.AfterFunc(d, func() { v.expire(l) })
	}
}

// expire ends a look-up whose time to wait, or whose time, is over.
func (v *Verifier) expire(l *lookup) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.finish(l, outcome{err: errLate})
}

// send makes the calls that may be made. mu is held.
func (v *Verifier) send() {
	now := time.Now()
	for batch := v.queue.next(now); len(batch) > 0; batch = v.queue.next(now) {
		for _, l := range batch {
			if l.timer != nil {
				l.timer.Reset(l.deadline.Sub(now))
			}
		}
		v.queue.inFlight++
		v.call(batch)
	}
	if pause := v.queue.paused(now); pause > 0 {
		v.resume.Reset(pause)
	}
}

// resumed sends what the pace of calls has delayed.
func (v *Verifier) resumed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.send()
}

// underWay returns a look-up that a query may share: one that began after the last change of the key. mu is held.
func (v *Verifier) underWay(q *query) *lookup {
	if q.mode != Use {
		return nil
	}
	l := v.lookups[q.digest]
	if l == nil || l.began < v.positions.At(l.slot) {
		return nil
	}
	return l
}

// newLookup makes a look-up for a query. mu is held.
func (v *Verifier) newLookup(q *query, network core.NetworkID, share netip.Prefix, position uint64) *lookup {
	lane := laneKey{network: network, opaque: q.Claim.KeyID == "" && !q.Claim.Sure}
	l := &lookup{
		Query:    q.Query,
		digest:   q.digest,
		mode:     q.mode,
		old:      q.old,
		began:    position,
		slot:     feed.SlotOf(network, q.KeyID),
		deadline: time.Now().Add(v.config.LookupTimeout),
		lane:     lane,
		client:   clientKey{lane: lane, addr: share},
		done:     make(chan struct{}),
	}
	if l.mode == Use {
		v.lookups[l.digest] = l
	}
	v.running.Add(1)
	return l
}

// complete ends a look-up with a verdict that was looked up at c, and remembers it.
func (v *Verifier) complete(l *lookup, verdict *core.Verdict, c *clock) {
	o := outcome{verdict: verdict, position: l.began, slot: l.slot}
	if verdict.Position != 0 {
		o.position = min(o.position, verdict.Position)
	}
	if verdict.KeyID != "" && verdict.KeyID != l.KeyID {
		o.slot = feed.SlotOf(l.Network, verdict.KeyID)
	}
	if l.mode != NoStore {
		v.remember(l.digest, &o, c)
	}
	v.end(l, o)
}

// reject ends a look-up with an error of a look-up that began at c. One that denies ends what was known before, too.
func (v *Verifier) reject(l *lookup, err error, c *clock) {
	if denies(err) && l.mode != NoStore {
		v.deny(l.digest, &outcome{position: l.began, slot: l.slot}, c)
	}
	v.end(l, outcome{err: unavailable(err)})
}

// fail ends look-ups with a failure of the source.
func (v *Verifier) fail(lookups []*lookup, err error) {
	err = unavailable(err)
	for _, l := range lookups {
		v.end(l, outcome{err: err})
	}
}

// end gives those who wait for a look-up their answer. Only the first end of a look-up counts.
func (v *Verifier) end(l *lookup, o outcome) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.finish(l, o)
}

// finish is end while mu is held.
func (v *Verifier) finish(l *lookup, o outcome) {
	if l.ended {
		return
	}
	l.ended = true
	if l.place != nil {
		v.queue.drop(l)
	}
	if v.lookups[l.digest] == l {
		delete(v.lookups, l.digest)
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	v.noteAttempt(l.old, o.err)
	l.outcome = o
	close(l.done)
	v.running.Done()
}

// noteAttempt writes down how the attempt to replace an entry ended, if there is one.
func (v *Verifier) noteAttempt(old *entry, err error) {
	switch {
	case old == nil:
	case err == nil, denies(err): // the entry is on its own
		old.failed.Store(0)
	default:
		c := v.clock()
		old.failed.Store(c.tick())
		old.state.And(^uint32(stateRefreshing))
	}
}

// unavailable makes a source's failure an error that leaves open whether the credential is valid.
func unavailable(err error) error {
	if e, ok := errors.AsType[*core.Error](err); ok &&
		(e.Reason == core.Unavailable || e.Reason == core.DeadlineExceeded) {
		return err
	}
	return core.WrapError(core.Unavailable, "the credential cannot be verified at the moment", err)
}
