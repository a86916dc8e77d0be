package engine

import (
	"context"

	"github.com/talos-edge/talos-edge/core"
)

// Suspend has a key of a kind refused, like a revoked one, until it is resumed, and returns it. When it returns nil, no
// verification on this node that begins later admits the key, nor a token that was derived from it. A key that is
// suspended or revoked already is [core.FailedPrecondition]; one that has expired can be suspended.
func (e *Engine) Suspend(ctx context.Context, kind core.Kind, keyID string) (core.Key, error) {
	return e.store.Suspend(ctx, e.network, kind, keyID, core.Suspension{Time: now()})
}

// Resume ends the suspension of a key of a kind and returns it: with the scopes, limits and expiry that it had. One
// that is not suspended is [core.FailedPrecondition]. A suspended key does not count for the quota, so if the quota has
// become full since, it is [core.KeyQuotaExceeded]: suspended keys are no way around it.
func (e *Engine) Resume(ctx context.Context, kind core.Kind, keyID string) (core.Key, error) {
	return e.store.Resume(ctx, e.network, kind, keyID, core.Resumption{Time: now(), Quota: e.quota})
}
