package core

import (
	"context"
	"time"

	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/feed"
)

// LookupResult is the answer to one credential of several: a verdict, or why there is none.
type LookupResult struct {
	Verdict *Verdict
	Err     error
}

// target is the key that a credential would belong to.
type target struct {
	keyID string
	kind  Kind
	t     CredentialType
	token *token // of a token, which was derived from the key
}

// Prepare says without I/O which key a credential would belong to, or gives the final verdict on one that cannot be a
// key of this network: a bad form, a wrong checksum, a foreign network. A forged key so costs no look-up.
func (e *Engine) Prepare(network NetworkID, cred string) (q Query, final *Verdict) {
	want, final := e.identify(network, cred)
	q = Query{Network: network, Credential: cred, KeyID: want.keyID}
	if final == nil {
		// Each result is read from the row of its own key.
		q.Claim, q.Parsed = Claim{Sure: true}, want
	}
	return q, final
}

func (e *Engine) identify(network NetworkID, cred string) (want *target, final *Verdict) {
	if network != e.network {
		return new(target), Unknown(network, "", UnknownCredentialType)
	}
	if credential.Check(cred) != nil {
		return new(target), &Verdict{Network: network, Code: CodeInvalidFormat}
	}
	p := e.format.Parse(cred)
	if p.Kind == credential.JWT || p.Kind == credential.Macaroon {
		return e.identifyToken(p.Kind, cred)
	}
	want, genuine := keyTarget(p, cred)
	if !genuine {
		final = Unknown(network, want.keyID, want.t)
	}
	return want, final
}

// keyTarget is the key that a credential which is no token would be, and whether there can be such a key.
func keyTarget(p credential.Parsed, cred string) (want *target, genuine bool) {
	if p.Kind == credential.Issued {
		return &target{keyID: p.KeyID, kind: Issued, t: IssuedKey}, p.Genuine
	}
	return &target{keyID: p.KeyID, kind: Imported, t: ImportedKey}, len(cred) <= credential.MaxImportedLength
}

// Lookup reads the states of the keys behind credentials that [Engine.Prepare] has read, with one query of the store.
// An error means that nothing can be said about a key.
func (e *Engine) Lookup(ctx context.Context, queries []Query) ([]LookupResult, error) {
	results := make([]LookupResult, len(queries))
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
		case ReasonOf(err) == Internal: // a row that cannot be read fails alone
			results[i] = e.lookupOne(ctx, q)
		default:
			return nil, err
		}
	}
	return results, nil
}

func (e *Engine) lookupOne(ctx context.Context, q *Query) LookupResult {
	key, err := e.store.Get(ctx, e.network, q.KeyID)
	if err != nil && ReasonOf(err) != KeyNotFound {
		return LookupResult{Err: err}
	}
	return LookupResult{Verdict: e.verdict(q, &key, err == nil)}
}

// Positions is the table of the store's changes.
func (e *Engine) Positions() *feed.Positions { return e.store.Positions() }

// Applied is the feed position up to which this node believes all changes. A change is among them before the call
// that made it returns.
func (e *Engine) Applied() uint64 { return e.Positions().Applied() }

// verdict tells what a stored key means for a credential. A key of another kind than the credential's is no key: an
// imported string that happens to be a key id opens nothing.
func (e *Engine) verdict(q *Query, key *Key, found bool) *Verdict {
	want, ok := q.Parsed.(*target)
	if !ok {
		return &Verdict{Network: q.Network, Code: CodeInternal} // Prepare did not make the query
	}
	if !found || !e.isTarget(want, key) {
		return Unknown(e.network, want.keyID, want.t)
	}
	if want.token != nil {
		return e.tokenVerdict(want.token, key, time.Now())
	}
	return NewVerdict(key, e.issuer, time.Now())
}

// isTarget tells whether a stored key is the one that a credential stands for.
func (e *Engine) isTarget(want *target, key *Key) bool {
	return (key.Kind == want.kind || want.kind == AnyKind) && key.Network == e.network && key.ID == want.keyID &&
		(want.token == nil || want.token.isOf(key))
}
