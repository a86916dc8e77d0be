package caddymodule

import (
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/adminapi"
)

// Public is what anyone may call: `POST /v2alpha1/apiKeys:selfRevoke`, by which a holder revokes a key by showing it,
// and `GET /v2alpha1/derivedKeys/jwks.json`. A path of the private surface is 404 here, in any spelling. Every other
// request goes on to the next handler.
type Public struct {
	// Health adds `/health/alive` and `/health/ready`, without detail. Default: false, they go on too.
	Health bool `json:"health,omitempty"`

	app *App
	api *adminapi.Public
}

// CaddyModule returns the Caddy module information.
func (*Public) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.talos_public", New: func() caddy.Module { return new(Public) }}
}

// Provision finds the app.
func (p *Public) Provision(ctx caddy.Context) error {
	var err error
	if p.app, err = appOf(ctx); err != nil {
		return err
	}
	p.api = p.app.publicHandler(adminapi.PublicOptions{
		Options: p.app.apiOptions(ctx.Logger()),
		Health:  p.Health,
		Limiter: failures(),
	})
	return nil
}

// failures counts the failed self-revocations of the process, so that neither a second listener nor a reload gives
// anyone new attempts.
var failures = sync.OnceValue(adminapi.NewFailureLimiter)

// ServeHTTP answers a request of the public surface, or passes it on.
func (p *Public) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if p.serve(w, r) {
		return nil
	}
	return next.ServeHTTP(w, r)
}

// serve answers a request of the public surface. The node stays open while its body comes slowly, and no longer: the
// next handler may take as long as a stream.
func (p *Public) serve(w http.ResponseWriter, r *http.Request) bool {
	p.app.enter()
	defer p.app.leave()
	return p.api.Serve(w, r)
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Public)(nil)
	_ caddyhttp.MiddlewareHandler = (*Public)(nil)
)
