package verify

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

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
	v.observe(parent, &call) // before those who wait have their answers
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
	failure   error // the first error, or nil
	throttled error // by which the source asks for fewer calls, or nil
}

// read finds out what the results say of the source.
func (c *call) read() {
	for i, l := range c.batch {
		r := &c.results[i]
		r.Err = l.check(*r)
		if r.Err == nil {
			c.answers++
			continue
		}
		if c.failure == nil {
			c.failure = r.Err
		}
		if errors.Is(r.Err, ErrThrottled) {
			c.throttled = r.Err
		}
	}
}

// again reports whether a look-up is to be looked up again: the source refused a call that holds credentials which are
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

// check reports whether an answer can be the answer to a look-up.
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
