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
)

// flight is one credential being looked up, for all who wait for it.
type flight struct {
	digest     digest
	network    core.NetworkID
	credential string
	keyID      string // what the source says it would be; empty: not known
	claim      Claim
	mode       Mode   // Use: it is shared
	old        *entry // what a good verdict would replace, or nil
	began      uint64 // the position before the look-up
	slot       core.Slot
	deadline   time.Time // of the wait and the call together

	// What follows is guarded by Verifier.mu.
	lane       laneKey
	client     clientKey
	place      *list.Element // in the queue; nil: it does not wait
	timer      *time.Timer   // ends it; nil: the call's own deadline does
	background bool          // nobody waits for it
	ended      bool

	done    chan struct{} // closed when landing is set
	landing landing
}

// landing is how a flight ended: with a verdict or an error.
type landing struct {
	verdict  *core.Verdict
	position uint64    // of the verdict
	slot     core.Slot // of the key that the verdict names
	err      error
}

// launch sees that each query has a flight: one that is under way and not too old, or a new one. The new ones are
// looked up together. A query that there is no room for gets an error.
func (v *Verifier) launch(network core.NetworkID, share netip.Prefix, queries []*query) {
	position := v.positions.Applied()
	refused := v.refused(queries)
	v.mu.Lock()
	defer v.mu.Unlock()
	var added []*flight
	for _, q := range queries {
		q.flight, q.joined = v.underWay(q), true
		switch {
		case q.flight != nil:
			q.flight.background = false
		case v.stopping:
			q.result = Result{Err: ErrClosed}
		case refused != nil:
			v.noteAttempt(q.old, refused)
			q.result = Result{Err: unavailable(refused)}
		default:
			q.flight, q.joined = v.enlist(q, network, share, position), false
			added = append(added, q.flight)
		}
	}
	v.submit(added)
}

// refused is why the source takes no call for queries, or nil. Where each query has a flight no call is needed.
func (v *Verifier) refused(queries []*query) error {
	v.mu.Lock()
	needed := slices.ContainsFunc(queries, func(q *query) bool { return v.underWay(q) == nil })
	v.mu.Unlock()
	if !needed {
		return nil
	}
	return v.source.Admit()
}

// launchBackground is launch for one query that nobody waits for. It returns false when there is a flight already or
// none may begin.
func (v *Verifier) launchBackground(q *query) bool {
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
	f := v.enlist(q, q.network, netip.Prefix{}, position)
	f.background = true
	v.submit([]*flight{f})
	return true
}

// submit has flights looked up. What there is no room for ends. mu is held.
func (v *Verifier) submit(flights []*flight) {
	v.noteLoad()
	for _, f := range flights {
		v.queue.push(f)
	}
	v.send()
	newest := len(flights)
	for v.queue.waiting > v.queue.room {
		f := v.queue.surplus()
		for f == nil && newest > 0 {
			newest--
			if flights[newest].place != nil {
				f = flights[newest]
			}
		}
		if f == nil {
			break // what is to be looked up again has a place in any case
		}
		v.settle(f, landing{err: errFull})
	}
	now := time.Now()
	for _, f := range flights {
		patience := v.patience(f)
		if pause := v.queue.paceOf(f).Left(now); pause > patience && f.place != nil {
			v.settle(f, landing{err: errPaused(pause)})
			continue
		}
		v.endIn(f, patience)
	}
}

// endIn ends a flight that waits unless its call has begun by then. mu is held.
func (v *Verifier) endIn(f *flight, d time.Duration) {
	if f.place != nil {
		f.timer = time.AfterFunc(d, func() { v.expire(f) })
	}
}

// expire ends a flight whose time to wait, or whose time, is over.
func (v *Verifier) expire(f *flight) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settle(f, landing{err: errLate})
}

// send makes the calls that may be made. mu is held.
func (v *Verifier) send() {
	now := time.Now()
	for batch := v.queue.next(now); len(batch) > 0; batch = v.queue.next(now) {
		for _, f := range batch {
			if f.timer != nil {
				f.timer.Reset(f.deadline.Sub(now))
			}
		}
		v.queue.inFlight++
		v.call(batch)
	}
	if pause := v.queue.paused(now); pause > 0 {
		v.resume.Reset(pause)
	}
}

// resumed sends what the pace of calls has kept back.
func (v *Verifier) resumed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.send()
}

// underWay returns a flight that a query may share: one that began after the last change of the key. mu is held.
func (v *Verifier) underWay(q *query) *flight {
	if q.mode != Use {
		return nil
	}
	f := v.flights[q.digest]
	if f == nil || f.began < v.positions.At(f.slot) {
		return nil
	}
	return f
}

// enlist makes a flight for a query. mu is held.
func (v *Verifier) enlist(q *query, network core.NetworkID, share netip.Prefix, position uint64) *flight {
	lane := laneKey{network: network, opaque: q.claim.KeyID == "" && !q.claim.Sure}
	f := &flight{
		digest:     q.digest,
		network:    network,
		credential: q.credential,
		keyID:      q.keyID,
		claim:      q.claim,
		mode:       q.mode,
		old:        q.old,
		began:      position,
		slot:       core.SlotOf(network, q.keyID),
		deadline:   time.Now().Add(v.config.LookupTimeout),
		lane:       lane,
		client:     clientKey{lane: lane, addr: share},
		done:       make(chan struct{}),
	}
	if f.mode == Use {
		v.flights[f.digest] = f
	}
	v.running.Add(1)
	return f
}

// startCall makes a call of the source. It belongs to no caller; one that nobody waits for ends with the verifier. mu
// is held.
func (v *Verifier) startCall(batch []*flight) {
	v.running.Add(1)
	if slices.ContainsFunc(batch, func(f *flight) bool { return !f.background }) {
		go v.fly(context.Background(), batch)
	} else {
		go v.fly(v.background, batch)
	}
}

// fly makes one call of the source. Whatever becomes of it, every flight ends at its deadline.
func (v *Verifier) fly(parent context.Context, batch []*flight) {
	defer v.running.Done()
	deadline := batch[0].deadline
	for _, f := range batch {
		if f.deadline.After(deadline) {
			deadline = f.deadline
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
	for i, f := range batch {
		switch r := call.results[i]; {
		case r.Err == nil:
			v.land(f, r.Verdict, &c)
		case !call.again(f, r.Err):
			v.crash(f, r.Err, &c)
		}
	}
}

// call is a call of the source that has returned.
type call struct {
	batch   []*flight
	results []LookupResult // nil: the source ended the goroutine
	took    time.Duration
	late    bool // its time was over

	answers   int   // that are no errors
	throttled error // by which the source asks for fewer calls, or nil
}

// read finds out what the results say of the source.
func (c *call) read() {
	for i, f := range c.batch {
		r := &c.results[i]
		r.Err = f.check(*r)
		switch {
		case r.Err == nil:
			c.answers++
		case errors.Is(r.Err, ErrThrottled):
			c.throttled = r.Err
		}
	}
}

// again tells whether a flight is to be looked up again: the source refused a call that holds credentials which are not
// known to be good, and known keys do not wait for those.
func (c *call) again(f *flight, err error) bool {
	return f.known() && errors.Is(err, ErrThrottled) && hasUnknown(c.batch)
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
	for i, f := range c.batch {
		switch {
		case c.results == nil || f.ended || !c.again(f, c.results[i].Err):
		case v.stopping && f.background:
			v.settle(f, landing{err: ErrClosed})
		default:
			v.queue.push(f)
			if f.timer == nil {
				v.endIn(f, time.Until(f.deadline))
			}
		}
	}
	v.send()
}

// ask calls the source. There is a result for each flight. A panic in the source, also one that only ends the
// goroutine, becomes an error for all of them.
func (v *Verifier) ask(ctx context.Context, batch []*flight) []LookupResult {
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

func (v *Verifier) guarded(ctx context.Context, batch []*flight) (results []LookupResult, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		// The value may hold anything, a credential too; the trace holds code only.
		err = fmt.Errorf("the look-up panicked with a %T\n%s", recover(), debug.Stack())
		v.fail(batch, err)
	}()
	network := batch[0].network
	if len(batch) == 1 {
		var r LookupResult
		r.Verdict, r.Err = v.source.Lookup(ctx, network, batch[0].credential)
		results = []LookupResult{r}
	} else {
		credentials := make([]string, len(batch))
		for i, f := range batch {
			credentials[i] = f.credential
		}
		results, err = v.source.LookupMany(ctx, network, credentials)
	}
	returned = true
	return results, err
}

// check tells whether an answer can be the answer to a flight.
func (f *flight) check(r LookupResult) error {
	switch {
	case r.Err != nil:
		return r.Err
	case r.Verdict == nil:
		return errors.New("the source gave neither verdict nor error")
	case r.Verdict.Network != f.network:
		return errors.New("the source gave a verdict of another network")
	case r.Verdict.Code == core.CodeValid && r.Verdict.KeyID == "":
		return errors.New("the source gave a valid verdict without a key")
	case f.keyID != "" && r.Verdict.KeyID != "" && r.Verdict.KeyID != f.keyID:
		return errors.New("the source gave a verdict of another key")
	default:
		return nil
	}
}

// land ends a flight with a verdict that was looked up at c, and remembers it.
func (v *Verifier) land(f *flight, verdict *core.Verdict, c *clock) {
	l := landing{verdict: verdict, position: f.began, slot: f.slot}
	if verdict.Position != 0 {
		l.position = min(l.position, verdict.Position)
	}
	if verdict.KeyID != "" && verdict.KeyID != f.keyID {
		l.slot = core.SlotOf(f.network, verdict.KeyID)
	}
	if f.mode != NoStore {
		v.remember(f.digest, &l, c)
	}
	v.end(f, l)
}

// crash ends a flight with an error of a look-up that began at c. One that denies ends what was known before, too.
func (v *Verifier) crash(f *flight, err error, c *clock) {
	if denies(err) && f.mode != NoStore {
		v.deny(f.digest, &landing{position: f.began, slot: f.slot}, c)
	}
	v.end(f, landing{err: unavailable(err)})
}

// fail ends flights with a failure of the source.
func (v *Verifier) fail(flights []*flight, err error) {
	err = unavailable(err)
	for _, f := range flights {
		v.end(f, landing{err: err})
	}
}

// end gives those who wait for a flight their answer. Only the first end of a flight counts.
func (v *Verifier) end(f *flight, l landing) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settle(f, l)
}

// settle is end while mu is held.
func (v *Verifier) settle(f *flight, l landing) {
	if f.ended {
		return
	}
	f.ended = true
	if f.place != nil {
		v.queue.drop(f)
	}
	if v.flights[f.digest] == f {
		delete(v.flights, f.digest)
	}
	if f.timer != nil {
		f.timer.Stop()
	}
	v.noteAttempt(f.old, l.err)
	f.landing = l
	close(f.done)
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
