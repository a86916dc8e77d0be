package verify

import (
	"context"

	"github.com/talos-edge/talos-edge/core"
)

// VerifyMany is [Verifier.Verify] for several credentials of one network. The results are in the order of the
// credentials; each has its own error. What memory does not answer is looked up with one call of the source, a
// credential that is in the batch twice once.
func (v *Verifier) VerifyMany(
	ctx context.Context, network core.NetworkID, credentials []string, mode Mode,
) []Result {
	results := make([]Result, len(credentials))
	mode = v.effective(mode)
	c := v.clock()
	if mode == Use && !v.positions.Current(c.steady, c.wall) {
		if err := v.catchUp(ctx, &c); err != nil {
			for i := range results {
				results[i], _ = v.failed(err)
			}
			return results
		}
	}
	asked := make(map[digest]*query)
	queries := make([]*query, len(credentials)) // nil for what memory answered
	var open []*query
	for i, credential := range credentials {
		d := v.hash.of(network, credential)
		if queries[i] = asked[d]; queries[i] != nil {
			continue
		}
		if mode == Use && !v.closed.Load() {
			if results[i] = v.remembered(&d, network, credential, &c); results[i].Verdict != nil {
				continue
			}
		}
		q := &query{Query: Query{Network: network, Credential: credential}, digest: d, mode: mode}
		asked[d], queries[i] = q, q
		if v.prepare(q) {
			open = append(open, q)
		}
	}
	v.lookUp(ctx, network, open)
	for i, q := range queries {
		if q == nil {
			continue
		}
		results[i] = q.result
		v.count(&results[i])
		if q.result.Err == nil && q.result.Cache == Miss {
			q.result.Cache = Coalesced // for the next of the same
		}
	}
	return results
}
