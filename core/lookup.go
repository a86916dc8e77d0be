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

// Identify says without I/O which key a credential would belong to, or gives the final verdict on one that cannot be a
// key of this network: a bad form, a wrong checksum, a foreign network. A forged key so costs no look-up.
func (e *Engine) Identify(network NetworkID, cred string) (keyID string, final *Verdict) {
	want, final := e.identify(network, cred)
	return want.keyID, final
}

func (e *Engine) identify(network NetworkID, cred string) (want target, final *Verdict) {
	if network != e.network {
		return target{}, Unknown(network, "", UnknownCredentialType)
	}
	if credential.Check(cred) != nil {
		return target{}, &Verdict{Network: network, Code: CodeInvalidFormat}
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
func keyTarget(p credential.Parsed, cred string) (want target, genuine bool) {
	if p.Kind == credential.Issued {
		return target{keyID: p.KeyID, kind: Issued, t: IssuedKey}, p.Genuine
	}
	return target{keyID: p.KeyID, kind: Imported, t: ImportedKey}, len(cred) <= credential.MaxImportedLength
}

// Lookup reads the state of the key behind a credential. An error means that nothing can be said about it.
func (e *Engine) Lookup(ctx context.Context, network NetworkID, cred string) (*Verdict, error) {
	want, final := e.identify(network, cred)
	if final != nil {
		return final, nil
	}
	key, err := e.store.Get(ctx, network, want.keyID)
	if err != nil && ReasonOf(err) != KeyNotFound {
		return nil, err
	}
	return e.verdict(want, &key, err == nil), nil
}

// LookupMany is Lookup for several credentials with one query. The results are in the order of the credentials.
func (e *Engine) LookupMany(ctx context.Context, network NetworkID, creds []string) ([]LookupResult, error) {
	results := make([]LookupResult, len(creds))
	targets := make([]target, len(creds))
	keyIDs := make([]string, 0, len(creds))
	for i, cred := range creds {
		targets[i], results[i].Verdict = e.identify(network, cred)
		if results[i].Verdict == nil {
			keyIDs = append(keyIDs, targets[i].keyID)
		}
	}
	if len(keyIDs) == 0 {
		return results, nil
	}
	keys, err := e.store.GetMany(ctx, network, keyIDs)
	switch {
	case err != nil && ReasonOf(err) == Internal: // a row that cannot be read fails alone
		for i, cred := range creds {
			results[i].Verdict, results[i].Err = e.Lookup(ctx, network, cred)
		}
		return results, nil
	case err != nil:
		return nil, err
	}
	for i, want := range targets {
		if results[i].Verdict == nil {
			key, found := keys[want.keyID]
			results[i].Verdict = e.verdict(want, &key, found)
		}
	}
	return results, nil
}

// Positions is the table of the store's changes.
func (e *Engine) Positions() *feed.Positions { return e.store.Positions() }

// Applied is the feed position up to which this node believes all changes. A change is among them before the call
// that made it returns.
func (e *Engine) Applied() uint64 { return e.Positions().Applied() }

// verdict tells what a stored key means for a credential. A key of another kind than the credential's is no key: an
// imported string that happens to be a key id opens nothing.
func (e *Engine) verdict(want target, key *Key, found bool) *Verdict {
	if !found || !e.isTarget(want, key) {
		return Unknown(e.network, want.keyID, want.t)
	}
	if want.token != nil {
		return e.tokenVerdict(want.token, key, time.Now())
	}
	return NewVerdict(key, e.issuer, time.Now())
}

// isTarget tells whether a stored key is the one that a credential stands for.
func (e *Engine) isTarget(want target, key *Key) bool {
	return (key.Kind == want.kind || want.kind == AnyKind) && key.Network == e.network && key.ID == want.keyID &&
		(want.token == nil || want.token.isOf(key))
}
