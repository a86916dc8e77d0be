package verify

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/talos-edge/talos-edge/core"
)

// flight is one credential being looked up, for all who wait for it.
type flight struct {
	digest     digest
	network    core.NetworkID
	credential string
	keyID      string // what the source says it would be; empty: not known
	mode       Mode   // Use: it is shared
	old        *entry // what a good verdict would replace, or nil
	began      uint64 // the position before the look-up
	slot       core.Slot

	ended   bool          // guarded by Verifier.mu
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
func (v *Verifier) launch(network core.NetworkID, queries []*query) {
	position := v.positions.Applied()
	v.mu.Lock()
	defer v.mu.Unlock()
	var crew []*flight
	for _, q := range queries {
		q.flight, q.joined = v.underWay(q), true
		if q.flight != nil {
			continue
		}
		if err := v.refusal(); err != nil {
			q.result = Result{Err: err}
			continue
		}
		q.flight, q.joined = v.enlist(q, position), false
		crew = append(crew, q.flight)
	}
	if len(crew) > 0 {
		v.pending.Add(1)
		v.running.Add(1)
		go v.fly(context.Background(), network, crew, false)
	}
}

// launchBackground is launch for one query that nobody waits for. It returns false when there is a flight already or
// no turn is free.
func (v *Verifier) launchBackground(q *query) bool {
	position := v.positions.Applied()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.underWay(q) != nil || v.refusal() != nil {
		return false
	}
	select {
	case v.turns <- struct{}{}:
	default:
		return false
	}
	v.pending.Add(1)
	v.running.Add(1)
	go v.fly(v.background, q.network, []*flight{v.enlist(q, position)}, true)
	return true
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

// refusal is why no look-up may begin, or nil. mu is held.
func (v *Verifier) refusal() error {
	switch {
	case v.stopping:
		return ErrClosed
	case v.pending.Load() >= int64(v.config.MaxLookups)+int64(v.config.MaxWaiting):
		return core.NewError(core.Unavailable, "too many look-ups are waiting")
	default:
		return nil
	}
}

// enlist makes a flight for a query. mu is held.
func (v *Verifier) enlist(q *query, position uint64) *flight {
	f := &flight{
		digest:     q.digest,
		network:    q.network,
		credential: q.credential,
		keyID:      q.keyID,
		mode:       q.mode,
		old:        q.old,
		began:      position,
		slot:       core.SlotOf(q.network, q.keyID),
		done:       make(chan struct{}),
	}
	if f.mode == Use {
		v.flights[f.digest] = f
	}
	return f
}

// fly looks a crew up, under a deadline of its own. Whatever becomes of the source, every flight ends at the deadline.
func (v *Verifier) fly(parent context.Context, network core.NetworkID, crew []*flight, hasTurn bool) {
	defer v.running.Done()
	defer v.pending.Add(-1)
	ctx, cancel := context.WithTimeout(parent, v.config.LookupTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { v.fail(crew, ctx.Err()) })
	defer stop()
	if !hasTurn {
		select {
		case v.turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
	defer func() { <-v.turns }()
	if ctx.Err() != nil {
		return
	}
	c := v.clock()
	results, err := v.ask(ctx, network, crew)
	if err == nil && len(results) != len(crew) {
		err = fmt.Errorf("the source gave %d answers to %d credentials", len(results), len(crew))
	}
	if err != nil {
		v.crash(crew, err, &c)
		return
	}
	for i, f := range crew {
		if err := f.check(results[i]); err != nil {
			v.crash(crew[i:i+1], err, &c)
			continue
		}
		v.land(f, results[i].Verdict, &c)
	}
}

// ask calls the source. A panic in it, also one that only ends the goroutine, becomes an error for the crew.
func (v *Verifier) ask(
	ctx context.Context, network core.NetworkID, crew []*flight,
) (results []LookupResult, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		// The value may hold anything, a credential too; the trace holds code only.
		err = fmt.Errorf("the look-up panicked with a %T\n%s", recover(), debug.Stack())
		v.fail(crew, err)
	}()
	if len(crew) == 1 {
		var r LookupResult
		r.Verdict, r.Err = v.source.Lookup(ctx, network, crew[0].credential)
		results = []LookupResult{r}
	} else {
		credentials := make([]string, len(crew))
		for i, f := range crew {
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

// crash ends flights with an error of a look-up that began at c. One that denies ends what was known before, too.
func (v *Verifier) crash(crew []*flight, err error, c *clock) {
	if denies(err) {
		for _, f := range crew {
			if f.mode != NoStore {
				v.deny(f.digest, &landing{position: f.began, slot: f.slot}, c)
			}
		}
	}
	v.fail(crew, err)
}

// fail ends flights with a failure of the source.
func (v *Verifier) fail(crew []*flight, err error) {
	err = unavailable(err)
	for _, f := range crew {
		v.end(f, landing{err: err})
	}
}

// end gives those who wait for a flight their answer. Only the first end of a flight counts.
func (v *Verifier) end(f *flight, l landing) {
	v.mu.Lock()
	first := !f.ended
	f.ended = true
	if v.flights[f.digest] == f {
		delete(v.flights, f.digest)
	}
	v.mu.Unlock()
	if !first {
		return
	}
	if f.old != nil {
		v.noteAttempt(f.old, l.err)
	}
	f.landing = l
	close(f.done)
}

// noteAttempt writes down how the attempt to replace an entry ended.
func (v *Verifier) noteAttempt(old *entry, err error) {
	switch {
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
