package public

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/internal/pool"
	"github.com/talos-edge/talos-edge/caddymodule/node"
)

// Public is what anyone may call: `POST /v2alpha1/apiKeys:selfRevoke`, by which a holder revokes a key by showing it,
// and `GET /v2alpha1/derivedKeys/jwks.json`. A path of the private surface is 404 here, in any spelling. Every other
// request goes on to the next handler.
type Public struct {
	// Health adds `/health/alive` and `/health/ready`, without detail. Default: false, they go on too.
	Health bool `json:"health,omitempty"`

	options adminapi.PublicOptions
	surface *node.Surface[*adminapi.Public]
	limited bool // it has a use of the failure limiter
}

// CaddyModule returns the Caddy module information.
func (*Public) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.talos_public", New: func() caddy.Module { return new(Public) }}
}

// Provision finds the app.
func (p *Public) Provision(ctx caddy.Context) error {
	app, err := node.Of(ctx)
	if err != nil {
		return err
	}
	limiter, err := pool.Acquire(ctx, pool.Limiters, failures, func() (*failureLimiter, error) {
		return &failureLimiter{adminapi.NewFailureLimiter()}, nil
	})
	if err != nil {
		return err
	}
	p.limited = true
	p.options = adminapi.PublicOptions{Health: p.Health, Limiter: limiter.FailureLimiter}
	p.options.Logger, p.options.Audit = ctx.Logger(), app.AuditLogger()
	p.surface = node.NewSurface(app, func(n node.Node) *adminapi.Public { return n.Public(p.options) })
	return nil
}

// failures names the limiter of failed self-revocations in its pool. All listeners of the process share it, and it
// outlives a reload: neither gives anyone new attempts.
const failures = "failed self-revocations"

type failureLimiter struct{ *adminapi.FailureLimiter }

// Destruct does nothing: the limiter is memory only.
func (*failureLimiter) Destruct() error { return nil }

// Cleanup gives back the use of the limiter.
func (p *Public) Cleanup() error {
	if !p.limited {
		return nil
	}
	p.limited = false
	_, err := pool.Limiters.Delete(failures)
	return err
}

// ServeHTTP answers a request of the public surface, or passes it on.
func (p *Public) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if p.serve(w, r) {
		return nil
	}
	return next.ServeHTTP(w, r)
}

// serve answers a request of the public surface. The node stays open while its body comes slowly, and no longer: the
// next handler may take as long as a stream. For any other request no node is opened.
func (p *Public) serve(w http.ResponseWriter, r *http.Request) bool {
	if !p.options.Answers(r) {
		return false
	}
	surface := p.surface.Hold()
	defer p.surface.Release()
	return surface.Serve(w, r)
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Public)(nil)
	_ caddy.CleanerUpper          = (*Public)(nil)
	_ caddyhttp.MiddlewareHandler = (*Public)(nil)
)
