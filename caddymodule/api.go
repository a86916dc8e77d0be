package caddymodule

import (
	"context"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// appOf returns the app of the configuration that a handler is provisioned for; one with defaults when the
// configuration has none.
func appOf(ctx caddy.Context) (*App, error) {
	module, err := ctx.App("talos")
	if err != nil {
		return nil, err
	}
	app, ok := module.(*App)
	if !ok {
		return nil, fmt.Errorf("the app talos is a %T", module)
	}
	return app, nil
}

// apiOptions tells package adminapi what to serve.
func (a *App) apiOptions(logger *zap.Logger) adminapi.Options {
	network := adminapi.Network{Keys: keys{a}, Verifier: verifier{a}}
	return adminapi.Options{
		Network:    func(*http.Request) (adminapi.Network, error) { return network, nil },
		ClientAddr: clientOf,
		Ready: func(ctx context.Context) error {
			_, err := with(a, func(n *node) (struct{}, error) { return struct{}{}, n.ready(ctx) })
			return err
		},
		RateLimiter: a.limiter(),
		Logger:      logger,
	}
}

// adminHandler makes the private surface. The node stays open for the whole of a request: while its body comes slowly,
// between the calls that it takes, and while the upstream's answer is copied.
func (a *App) adminHandler(logger *zap.Logger) http.Handler {
	api := adminapi.Admin(a.apiOptions(logger))
	if a.Upstream != nil {
		api = adminapi.SidecarAdmin(adminapi.SidecarOptions{Options: a.apiOptions(logger), Upstream: farKeys{a}})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.enter()
		defer a.leave()
		api.ServeHTTP(w, r)
	})
}

// publicHandler makes the public surface.
func (a *App) publicHandler(o adminapi.PublicOptions) *adminapi.Public {
	if a.Upstream != nil {
		return adminapi.NewSidecarPublic(o, farKeys{a})
	}
	return adminapi.NewPublic(o)
}

// keys and verifier hold the node for each call, so that a request whose configuration is cleaned up under it comes to
// its end.
type (
	keys     struct{ app *App }
	verifier struct{ app *App }
)

// Issue is [core.Engine.Issue].
func (k keys) Issue(ctx context.Context, r core.IssueRequest) (key core.Key, secret string, err error) {
	key, err = with(k.app, func(n *node) (issued core.Key, err error) {
		issued, secret, err = n.engine.Issue(ctx, r)
		return issued, err
	})
	return key, secret, err
}

// Get is [core.Engine.Get].
func (k keys) Get(ctx context.Context, kind core.Kind, keyID string) (core.Key, error) {
	return with(k.app, func(n *node) (core.Key, error) { return n.engine.Get(ctx, kind, keyID) })
}

// Revoke is [core.Engine.Revoke].
func (k keys) Revoke(ctx context.Context, kind core.Kind, keyID string, r core.RevokeRequest) (core.Key, error) {
	return with(k.app, func(n *node) (core.Key, error) { return n.engine.Revoke(ctx, kind, keyID, r) })
}

// SelfRevoke is [core.Engine.SelfRevoke].
func (k keys) SelfRevoke(ctx context.Context, credential string, reason core.RevocationReason) error {
	_, err := with(k.app, func(n *node) (struct{}, error) {
		return struct{}{}, n.engine.SelfRevoke(ctx, credential, reason)
	})
	return err
}

// Applied is [core.Engine.Applied].
func (k keys) Applied() uint64 {
	position, err := with(k.app, func(n *node) (uint64, error) { return n.engine.Applied(), nil })
	if err != nil {
		return 0
	}
	return position
}

// Verify is [verify.Verifier.Verify].
func (v verifier) Verify(
	ctx context.Context, network core.NetworkID, credential string, mode verify.Mode,
) (verify.Result, error) {
	return with(v.app, func(n *node) (verify.Result, error) {
		return n.verifier.Verify(ctx, network, credential, mode)
	})
}

// VerifyMany is [verify.Verifier.VerifyMany]; without a node each item has the error.
func (v verifier) VerifyMany(
	ctx context.Context, network core.NetworkID, credentials []string, mode verify.Mode,
) []verify.Result {
	results, err := with(v.app, func(n *node) ([]verify.Result, error) {
		return n.verifier.VerifyMany(ctx, network, credentials, mode), nil
	})
	if err != nil {
		results = make([]verify.Result, len(credentials))
		for i := range results {
			results[i].Err = err
		}
	}
	return results
}

// Interface guards.
var (
	_ adminapi.Keys     = keys{}
	_ adminapi.Verifier = verifier{}
)
