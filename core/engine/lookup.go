package engine

import (
	"context"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/feed"
)

// target is the key that a credential would belong to.
type target struct {
	keyID string
	kind  core.Kind
	t     core.CredentialType
	token *token // of a token, which was derived from the key
}

// Prepare says without I/O which key a credential would belong to, or gives the final verdict on one that cannot be a
// key of this network: a bad form, a wrong checksum, a foreign network. A forged key so costs no look-up.
func (e *Engine) Prepare(network core.NetworkID, cred string) (q core.Query, final *core.Verdict) {
	want, final := e.identify(network, cred)
	q = core.Query{Network: network, Credential: cred, KeyID: want.keyID}
	if final == nil {
		// Each result is read from the row of its own key.
		q.Claim, q.Parsed = core.Claim{Sure: true}, want
	}
	return q, final
}

func (e *Engine) identify(network core.NetworkID, cred string) (want *target, final *core.Verdict) {
	if network != e.network {
		return new(target), core.Unknown(network, "", core.UnknownCredentialType)
	}
	if credential.Check(cred) != nil {
		return new(target), &core.Verdict{Network: network, Code: core.CodeInvalidFormat}
	}
	p := e.format.Parse(cred)
	if p.Kind == credential.JWT || p.Kind == credential.Macaroon {
		return e.identifyToken(p.Kind, cred)
	}
	want, genuine := keyTarget(p, cred)
	if !genuine {
		final = core.Unknown(network, want.keyID, want.t)
	}
	return want, final
}

// keyTarget is the key that a credential which is no token would be, and whether there can be such a key.
func keyTarget(p credential.Parsed, cred string) (want *target, genuine bool) {
	if p.Kind == credential.Issued {
		return &target{keyID: p.KeyID, kind: core.Issued, t: core.IssuedKey}, p.Genuine
	}
	return &target{keyID: p.KeyID, kind: core.Imported, t: core.ImportedKey}, len(cred) <= credential.MaxImportedLength
}

// Lookup reads the states of the keys behind credentials that [Engine.Prepare] has read, with one query of the store.
// An error means that nothing can be said about a key.
func (e *Engine) Lookup(ctx context.Context, queries []core.Query) ([]core.LookupResult, error) {
	results := make([]core.LookupResult, len(queries))
	if len(queries) == 1 {
		results[0] = e.lookupOne(ctx, &queries[0])
		return results, nil
	}
	keyIDs := make([]string, len(queries))
	for i := range queries {
		keyIDs[i] = queries[i].KeyID
	}
	keys, err := e.store.GetMany(ctx, e.network, keyIDs)
	for i := range queries {
		switch q := &queries[i]; {
		case err == nil:
			key, found := keys[q.KeyID]
			results[i].Verdict = e.verdict(q, &key, found)
		case core.ReasonOf(err) == core.Internal: // a row that cannot be read fails alone
			results[i] = e.lookupOne(ctx, q)
		default:
			return nil, err
		}
	}
	return results, nil
}

func (e *Engine) lookupOne(ctx context.Context, q *core.Query) core.LookupResult {
	key, err := e.store.Get(ctx, e.network, q.KeyID)
	if err != nil && core.ReasonOf(err) != core.KeyNotFound {
		return core.LookupResult{Err: err}
	}
	return core.LookupResult{Verdict: e.verdict(q, &key, err == nil)}
}

// Positions is the table of the store's changes.
func (e *Engine) Positions() *feed.Positions { return e.store.Positions() }

// Applied is the feed position up to which this node has applied all changes. A change is among them before the call
// that made it returns.
func (e *Engine) Applied() uint64 { return e.Positions().Applied() }

// AwaitPosition waits until this node has applied all changes up to a position. It returns ctx's error if ctx ends
// first.
func (e *Engine) AwaitPosition(ctx context.Context, position uint64) error {
	if position == 0 {
		return nil
	}
	return e.Positions().AwaitAfter(ctx, position-1)
}

// verdict is what a stored key means for a credential. A key of another kind than the credential's is no key: an
// imported string that happens to be a key id opens nothing.
func (e *Engine) verdict(q *core.Query, key *core.Key, found bool) *core.Verdict {
	want, ok := q.Parsed.(*target)
	if !ok {
		return &core.Verdict{Network: q.Network, Code: core.CodeInternal} // Prepare did not make the query
	}
	if !found || !e.isTarget(want, key) {
		return core.Unknown(e.network, want.keyID, want.t)
	}
	if want.token != nil {
		return e.tokenVerdict(want.token, key, time.Now())
	}
	return core.NewVerdict(key, e.issuer, time.Now())
}

// isTarget reports whether a stored key is the one that a credential belongs to.
func (e *Engine) isTarget(want *target, key *core.Key) bool {
	return (key.Kind == want.kind || want.kind == core.AnyKind) && key.Network == e.network && key.ID == want.keyID &&
		(want.token == nil || want.token.isOf(key))
}

// Limits are the defaults.
func (e *Engine) Limits() core.LookupLimits { return core.LookupLimits{} }

// Admit returns nil: the store may always be asked.
func (e *Engine) Admit() error { return nil }
