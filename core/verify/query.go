package verify

import (
	"context"
	"errors"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// attempts is how often a request has its credential looked up because the answer was older than a change of the key.
const attempts = 3

// staleRetry and staleTrust are the pace of an outage: while the last attempt to replace an entry failed no longer than
// staleTrust ago, the entry is served at once and replaced in the background, at most once in staleRetry. So only the
// first requests wait for a source that hangs.
const (
	staleRetry = 1 * minTTL
	staleTrust = 5 * minTTL
)

// query is one credential on its way through a miss.
type query struct {
	Query
	digest digest
	mode   Mode   // effective
	old    *entry // a good verdict that a new one would replace, or nil

	lookup *lookup // nil: refused
	joined bool    // the look-up is another request's

	result Result
}

// prepare finds out what is known without a look-up. It returns false when that is the answer.
func (v *Verifier) prepare(q *query) bool {
	if v.closed.Load() {
		q.result = Result{Err: ErrClosed}
		return false
	}
	prepared, final := v.source.Prepare(q.Network, q.Credential)
	if final != nil {
		q.result = Result{Verdict: final, Position: v.positions.Applied(), Now: time.Now(), Cache: Local}
		return false
	}
	q.Query = prepared
	if q.mode != Use {
		return true
	}
	q.old = v.cache.lookUp(v.cache.good, &q.digest)
	return q.old == nil || !v.knownFailing(q)
}

// knownFailing answers with the old verdict when the source has just failed to give a new one.
func (v *Verifier) knownFailing(q *query) bool {
	c := v.clock()
	since, failed := sinceTick(q.old.failed.Load(), &c)
	trusted, due := since <= staleTrust || q.old.state.Load()&stateRefreshing != 0, since >= staleRetry
	if !failed { // a source that hangs is not found out by each key for itself, but that it answers again is
		since, failed = sinceTick(v.lateAt.Load(), &c)
		trusted, due = since <= staleTrust, true
	}
	if !failed || !trusted || !v.mayServeStale(q, &c) {
		return false
	}
	if due {
		v.refresh(q.old, q.Network, q.Credential)
	}
	q.result = Result{Verdict: &q.old.verdict, Position: q.old.position, Now: c.now, Cache: Stale}
	return true
}

// mayServeStale reports whether the old verdict is within its stale window, and nothing newer is known.
func (v *Verifier) mayServeStale(q *query, c *clock) bool {
	if q.old == nil || v.config.StaleIfError <= 0 || q.old.state.Load()&stateRetracted != 0 || !v.upToDate(q.old) ||
		q.old.left(c, v.positions.CompleteAt()) <= -v.config.StaleIfError {
		return false
	}
	bad := v.cache.lookUp(v.cache.bad, &q.digest)
	return bad == nil || !bad.newer(q.old)
}

// lookUp answers queries of one network by look-ups. An answer that is older than the last change of its key is looked
// up again.
func (v *Verifier) lookUp(ctx context.Context, network core.NetworkID, open []*query) {
	share := shareOf(ctx)
	for range attempts {
		if len(open) == 0 {
			return
		}
		v.start(network, share, open)
		var again []*query
		for _, q := range open {
			if !v.await(ctx, q) {
				again = append(again, q)
			}
		}
		open = again
	}
	for _, q := range open {
		q.result = Result{Err: core.NewError(core.Unavailable, "the key changed while it was looked up")}
	}
}

// await waits for the query's look-up and fills in its result. It returns false when the answer is too old.
func (v *Verifier) await(ctx context.Context, q *query) bool {
	if q.lookup == nil {
		v.orStale(q)
		return true
	}
	select {
	case <-q.lookup.done:
	case <-ctx.Done():
		q.result = Result{Err: core.WrapError(core.DeadlineExceeded, "the caller did not wait", ctx.Err())}
		return true
	}
	l := &q.lookup.outcome
	if l.err != nil {
		q.result = Result{Err: l.err}
		v.orStale(q)
		return true
	}
	if l.position < v.positions.At(l.slot) {
		return false
	}
	q.result = Result{Verdict: l.verdict, Position: l.position, Now: time.Now()}
	if q.joined {
		q.result.Cache = Coalesced
	}
	return true
}

// orStale puts the old verdict in place of an error where it may serve.
func (v *Verifier) orStale(q *query) {
	c := v.clock()
	if denies(q.result.Err) || errors.Is(q.result.Err, ErrClosed) || !v.mayServeStale(q, &c) {
		return
	}
	q.result = Result{Verdict: &q.old.verdict, Position: q.old.position, Now: c.now, Cache: Stale}
}

// refresh replaces an entry in the background, unless that is under way already or there is too much to do.
func (v *Verifier) refresh(e *entry, network core.NetworkID, credential string) {
	if e.state.Or(stateRefreshing)&stateRefreshing != 0 {
		return
	}
	prepared, final := v.source.Prepare(network, credential)
	if final != nil {
		return // the entry will not be replaced
	}
	if !v.startBackground(&query{Query: prepared, digest: e.digest, mode: Use, old: e}) {
		e.state.And(^uint32(stateRefreshing))
	}
}
