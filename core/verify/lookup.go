package verify

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
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

// startCall makes a call of the source. It belongs to no caller; one that nobody waits for ends with the verifier. mu
// is held.
func (v *Verifier) startCall(batch []*lookup) {
	v.running.Add(1)
	if slices.ContainsFunc(batch, func(l *lookup) bool { return !l.background }) {
		go v.run(context.Background(), batch)
	} else {
		go v.run(v.background, batch)
	}
}

// run makes one call of the source. Whatever becomes of it, every look-up ends at its deadline.
func (v *Verifier) run(parent context.Context, batch []*lookup) {
	defer v.running.Done()
	deadline := batch[0].deadline
	for _, l := range batch {
		if l.deadline.After(deadline) {
			deadline = l.deadline
		}
	}
	ctx, cancel := context.WithDeadline(parent, deadline)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { v.fail(batch, ctx.Err()) })
	defer stop()
	c := v.clock()
	call := call{batch: batch}
	defer func() { // also when the source ends the goroutine
		call.took, call.late = v.clock().steady-c.steady, errors.Is(ctx.Err(), context.DeadlineExceeded)
		v.returned(&call)
	}()
	call.results = v.ask(ctx, batch)
	call.read()
	for i, l := range batch {
		switch r := call.results[i]; {
		case r.Err == nil:
			v.complete(l, r.Verdict, &c)
		case !call.again(l, r.Err):
			v.reject(l, r.Err, &c)
		}
	}
}

// call is a call of the source that has returned.
type call struct {
	batch   []*lookup
	results []LookupResult // nil: the source ended the goroutine
	took    time.Duration
	late    bool // its time was over

	answers   int   // that are no errors
	throttled error // by which the source asks for fewer calls, or nil
}

// read finds out what the results say of the source.
func (c *call) read() {
	for i, l := range c.batch {
		r := &c.results[i]
		r.Err = l.check(*r)
		switch {
		case r.Err == nil:
			c.answers++
		case errors.Is(r.Err, ErrThrottled):
			c.throttled = r.Err
		}
	}
}

// again tells whether a look-up is to be looked up again: the source refused a call that holds credentials which are
// not known to be good, and known keys do not wait for those.
func (c *call) again(l *lookup, err error) bool {
	return l.known() && errors.Is(err, ErrThrottled) && hasUnknown(c.batch)
}

// returned notes what a call says of the source, and sends the next ones.
func (v *Verifier) returned(c *call) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.queue.inFlight--
	v.noteLoad()
	switch {
	case c.late:
		v.lateAt.Store(v.tick())
	case c.answers > 0:
		v.lateAt.Store(0)
		if v.took == 0 {
			v.took = c.took
		}
		v.took += (c.took - v.took) / 8
	}
	pace := &v.queue.known
	if hasUnknown(c.batch) {
		pace = &v.queue.unknown
	}
	switch {
	case c.throttled != nil:
		pace.Slower(time.Now(), c.throttled)
	case c.answers > 0:
		pace.Faster()
	}
	for i, l := range c.batch {
		switch {
		case c.results == nil || l.ended || !c.again(l, c.results[i].Err):
		case v.stopping && l.background:
			v.finish(l, outcome{err: ErrClosed})
		default:
			v.queue.push(l)
			if l.timer == nil {
				v.endIn(l, time.Until(l.deadline))
			}
		}
	}
	v.send()
}

// ask calls the source. There is a result for each look-up. A panic in the source, also one that only ends the
// goroutine, becomes an error for all of them.
func (v *Verifier) ask(ctx context.Context, batch []*lookup) []LookupResult {
	results, err := v.guarded(ctx, batch)
	if err == nil && len(results) != len(batch) {
		err = fmt.Errorf("the source gave %d answers to %d credentials", len(results), len(batch))
	}
	if err != nil {
		results = make([]LookupResult, len(batch))
		for i := range results {
			results[i].Err = err
		}
	}
	return results
}

func (v *Verifier) guarded(ctx context.Context, batch []*lookup) (results []LookupResult, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		// The value may hold anything, a credential too; the trace holds code only.
		err = fmt.Errorf("the look-up panicked with a %T\n%s", recover(), debug.Stack())
		v.fail(batch, err)
	}()
	queries := make([]Query, len(batch))
	for i, l := range batch {
		queries[i] = l.Query
	}
	results, err = v.source.Lookup(ctx, queries)
	returned = true
	return results, err
}

// check tells whether an answer can be the answer to a look-up.
func (l *lookup) check(r LookupResult) error {
	switch {
	case r.Err != nil:
		return r.Err
	case r.Verdict == nil:
		return errors.New("the source gave neither verdict nor error")
	case r.Verdict.Network != l.Network:
		return errors.New("the source gave a verdict of another network")
	case r.Verdict.Code == core.CodeValid && r.Verdict.KeyID == "":
		return errors.New("the source gave a valid verdict without a key")
	case l.KeyID != "" && r.Verdict.KeyID != "" && r.Verdict.KeyID != l.KeyID:
		return errors.New("the source gave a verdict of another key")
	default:
		return nil
	}
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

// unavailable makes a source's failure an error that says nothing about the credential.
func unavailable(err error) error {
	if e, ok := errors.AsType[*core.Error](err); ok &&
		(e.Reason == core.Unavailable || e.Reason == core.DeadlineExceeded) {
		return err
	}
	return core.WrapError(core.Unavailable, "the credential cannot be verified at the moment", err)
}
