package caddymodule

import (
	"context"
	"encoding/json"

	"github.com/talos-edge/talos-edge/core"
)

// Import is [core.Engine.Import].
func (k keys) Import(ctx context.Context, r core.ImportRequest) (core.Key, error) {
	return with(k.app, func(n *node) (core.Key, error) { return n.engine.Import(ctx, r) })
}

// ImportMany is [core.Engine.ImportMany].
func (k keys) ImportMany(ctx context.Context, requests []core.ImportRequest) ([]core.ImportResult, error) {
	return with(k.app, func(n *node) ([]core.ImportResult, error) { return n.engine.ImportMany(ctx, requests) })
}

// List is [core.Engine.List].
func (k keys) List(ctx context.Context, r core.ListRequest) (core.ListResult, error) {
	return with(k.app, func(n *node) (core.ListResult, error) { return n.engine.List(ctx, r) })
}

// Update is [core.Engine.Update].
func (k keys) Update(ctx context.Context, kind core.Kind, keyID string, r core.UpdateRequest) (core.Key, error) {
	return with(k.app, func(n *node) (core.Key, error) { return n.engine.Update(ctx, kind, keyID, r) })
}

// Rotate is [core.Engine.Rotate].
func (k keys) Rotate(
	ctx context.Context, keyID string, r core.RotateRequest,
) (fresh, old core.Key, secret string, err error) {
	fresh, err = with(k.app, func(n *node) (made core.Key, err error) {
		made, old, secret, err = n.engine.Rotate(ctx, keyID, r)
		return made, err
	})
	return fresh, old, secret, err
}

// Delete is [core.Engine.Delete].
func (k keys) Delete(ctx context.Context, keyID string) error {
	_, err := with(k.app, func(n *node) (struct{}, error) { return struct{}{}, n.engine.Delete(ctx, keyID) })
	return err
}

// Derive is [core.Engine.Derive].
func (k keys) Derive(ctx context.Context, r core.DeriveRequest) (core.Derived, error) {
	return with(k.app, func(n *node) (core.Derived, error) { return n.engine.Derive(ctx, r) })
}

// JWKS is [core.Engine.JWKS]; nil without a node.
func (k keys) JWKS() json.RawMessage {
	set, err := with(k.app, func(n *node) (json.RawMessage, error) { return n.engine.JWKS(), nil })
	if err != nil {
		return nil
	}
	return set
}
