package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

// lookup is the result for one credential.
type lookup struct {
	verdict   *core.Verdict
	err       error
	needsList bool // the verdict is good as far as the address list of the key allows, which is not known yet
}

// do makes a call for a look-up, which says how the upstream is. lookUps is how many look-ups are in it, if it is a
// batch of them.
func (u *Remote) do(
	ctx context.Context, lookUps int, call func(context.Context, *client.Client) error,
) *failure {
	f := u.observed(ctx, lookUps, call)
	u.outages.note(f)
	return f
}

// observed makes a call and notifies the observer.
func (u *Remote) observed(
	ctx context.Context, lookUps int, call func(context.Context, *client.Client) error,
) *failure {
	start := time.Now()
	f := u.pool.do(ctx, queryCall, func(ctx context.Context, a *address) error { return call(ctx, a.client) })
	c := Call{Result: ResultOK, LookUps: lookUps, Took: time.Since(start)}
	if f != nil {
		c.Result = f.result
	}
	u.config.Observer.Called(c)
	return f
}

// options are those of every call for a network.
func (n *network) options() []client.CallOption {
	return []client.CallOption{client.Headers(n.header), client.Host(n.host), client.Repeatable()}
}

// optionsFor are those of a call about keys. After a change that passed through here and whose feed position the
// upstream did not tell, an old answer of a cache cannot be recognized, so no cache may be asked.
func (u *Remote) optionsFor(n *network, keyIDs ...string) []client.CallOption {
	for _, keyID := range keyIDs {
		if u.changes.skipsCaches(n.id, keyID) {
			return append(n.options(), client.NoCache())
		}
	}
	return n.options()
}

// batch asks about several credentials with one call.
func (u *Remote) batch(ctx context.Context, n *network, queries []*query) ([]answer, error) {
	in := client.BatchRequest{Requests: make([]json.RawMessage, len(queries))}
	keyIDs := make([]string, len(queries))
	for i, q := range queries {
		in.Requests[i], keyIDs[i] = q.item(), q.claim.KeyID
	}
	var out struct {
		Results []json.RawMessage `json:"results"`
	}
	var edge client.EdgeAnswer
	f := u.do(ctx, len(queries), func(ctx context.Context, c *client.Client) error {
		out.Results = nil
		options := append(u.optionsFor(n, keyIDs...), client.Edge(&edge))
		_, err := c.Do(ctx, http.MethodPost, client.BatchVerifyPath, in, &out, options...)
		if err == nil && len(out.Results) != len(queries) {
			err = fmt.Errorf("%w: %d results for %d credentials", client.ErrAnswer, len(out.Results), len(queries))
		}
		return err
	})
	switch {
	case f != nil && f.result == ResultRejected:
		return nil, errors.Join(f.asError(), errDivide)
	case f != nil:
		return nil, f.asError()
	}
	about := make(map[string]int, len(queries)) // how many queries a key has
	for _, q := range queries {
		about[q.claim.KeyID]++
	}
	answers := make([]answer, len(queries))
	for i, raw := range out.Results {
		answers[i] = decode(raw, edge)
		if w := answers[i].wire; w != nil && len(queries) > 1 {
			if err := u.checkPlace(n, queries[i], w, edge, about[queries[i].claim.KeyID] > 1); err != nil {
				return nil, err
			}
		}
	}
	return answers, nil
}

// checkPlace returns an error when a result of a batch is about another query, or older than a change of its key. The
// batch is then divided: a result in the wrong place makes all others doubtful, and a query that is alone in its call
// has no wrong place. For an old result, another address may answer, or the same one a moment later.
func (u *Remote) checkPlace(n *network, q *query, w *wire, edge client.EdgeAnswer, siblings bool) error {
	switch {
	case w.misplaced(q, siblings):
		u.log.misplaced()
		return errors.Join(unavailable("the upstream cannot say", errKeyMismatch, 0), errDivide)
	case !u.changes.upToDate(n.id, w.keyID(q), edge.Position):
		return errors.Join(errBehind, errDivide)
	default:
		return nil
	}
}

// single asks about one credential for a client address.
func (u *Remote) single(ctx context.Context, n *network, q *query, addr netip.Addr) (answer, error) {
	var raw json.RawMessage
	f := u.do(ctx, 0, func(ctx context.Context, c *client.Client) (err error) {
		raw, err = c.Do(ctx, http.MethodPost, client.VerifyPath, q.item(), nil,
			append(u.optionsFor(n, q.claim.KeyID), client.ForClient(addr))...)
		return err
	})
	if f != nil {
		return answer{}, f.asError()
	}
	return decode(raw, client.EdgeAnswer{}), nil
}

// read makes a verdict of the answer to a query that was sent at one of this node's own positions. A verdict that a
// later change of the key has overtaken is returned: the verifier looks the key up again. One from before an earlier
// change is an error.
func (u *Remote) read(n *network, q *query, began uint64, o outcome) *lookup {
	l := new(lookup)
	if o.err != nil {
		l.err = o.err
		return l
	}
	w, err := o.answer.wire, o.answer.err
	if err == nil && w.otherKey(q, true) {
		err = errKeyMismatch
	}
	if err == nil {
		l.verdict, err = w.verdict(n, q, o.answer.edge.Understood)
	}
	if errors.Is(err, errKeyMismatch) {
		u.log.keyMismatch()
	}
	switch {
	case err != nil:
		l.verdict, l.err = nil, unavailable("the upstream cannot say", err, 0)
		return l
	case !u.changes.upToDate(n.id, l.verdict.KeyID, o.answer.edge.Position) &&
		!u.changes.outdated(n.id, l.verdict.KeyID, began):
		l.verdict = nil
		l.err = errBehind
		return l
	}
	if l.verdict.Code != core.CodeValid || o.answer.edge.Understood || u.config.NoIPLists {
		return l
	}
	if q.token() {
		// Its own list may be narrower than its key's, and only whoever checks tokens can read it.
		u.log.noAddressList()
		l.verdict, l.err = nil, unavailable("the upstream does not tell the token's address list", nil, 0)
		return l
	}
	l.needsList = true
	return l
}

// readLists completes good verdicts of an upstream that does not understand an edge with their keys' address lists. The
// list is read for each look-up and not once for a key: it may be changed there at any time.
func (u *Remote) readLists(ctx context.Context, n *network, all []*lookup) {
	var reads sync.WaitGroup
	for _, l := range all {
		if l.needsList {
			reads.Go(func() { l.verdict, l.err = u.readListInTurn(ctx, n, l.verdict) })
		}
	}
	reads.Wait()
}

// readListInTurn is readList within the bound of what look-ups may have out. A read that would have less than a
// quarter of the timeout is not begun: it would keep others waiting and then be cut short.
func (u *Remote) readListInTurn(ctx context.Context, n *network, v *core.Verdict) (*core.Verdict, error) {
	waiting, cancel := ctx, context.CancelFunc(func() {})
	if deadline, ok := ctx.Deadline(); ok {
		waiting, cancel = context.WithDeadline(ctx, deadline.Add(-u.config.Timeout/4))
	}
	defer cancel()
	if !acquire(waiting, u.records) {
		return nil, errLate(waiting)
	}
	defer func() { <-u.records }()
	return u.readList(ctx, n, v)
}

// readList reads the record of a verdict's key and returns the verdict with the record's address list. Without the list
// there is no verdict. What the record says of the key's state is newer.
func (u *Remote) readList(ctx context.Context, n *network, v *core.Verdict) (*core.Verdict, error) {
	kind := client.Issued
	if v.Type == core.ImportedKey {
		kind = client.Imported
	}
	var record client.IssuedAPIKey // the fields that are of interest here are the same for both kinds
	f := u.do(ctx, 0, func(ctx context.Context, c *client.Client) error {
		record = client.IssuedAPIKey{}
		_, err := c.Do(ctx, http.MethodGet, client.KeyPath(kind, v.KeyID), nil, &record, u.optionsFor(n, v.KeyID)...)
		return err
	})
	if f != nil {
		return nil, f.asError()
	}
	completed, err := complete(*v, &record)
	if err != nil {
		return nil, unavailable("the upstream cannot say", err, 0)
	}
	return completed, nil
}

// complete is a good verdict with what the key's record adds.
func complete(v core.Verdict, record *client.IssuedAPIKey) (_ *core.Verdict, err error) {
	if record.KeyID != v.KeyID {
		return nil, errKeyMismatch
	}
	switch record.Status {
	case client.KeyStatusActive:
	case client.KeyStatusRevoked:
		v.Code, v.Status, v.Identity = core.CodeRevoked, core.StatusRevoked, core.Identity{}
		return &v, nil
	case client.KeyStatusExpired:
		v.Code, v.Status, v.Identity = core.CodeExpired, core.StatusExpired, core.Identity{}
		return &v, nil
	case "", client.KeyStatusUnspecified:
		return nil, errors.New("a record does not tell the key's status")
	default:
		return nil, refuses("a record has the unknown status " + quoted(string(record.Status)))
	}
	if record.IPRestriction == nil {
		return &v, nil
	}
	if v.AllowedCIDRs, err = core.ParseCIDRs(record.IPRestriction.AllowedCIDRs); err != nil {
		return nil, err
	}
	return &v, nil
}
