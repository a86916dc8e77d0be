package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/internal/ports"
	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/core"
)

// Admin is the private surface: its callers may issue, read, revoke and verify keys. It ends the handler chain.
//
// It answers to callers on loopback and on unix sockets, and to the ranges in Allow. The peer has to be allowed and,
// where that is a trusted proxy, so have the client and every proxy between the two. A request that came through any
// other proxy is refused: everyone who can reach that proxy would have its address. A listener that can be reached from
// other machines is an error unless Allow says who may call.
type Admin struct {
	// Allow names further ranges of callers (CIDR, address, or `private_ranges`). Default: none.
	Allow []string `json:"allow,omitempty"`

	// Hosts are names that it answers to, beside IP literals and `localhost`. `*.internal` is every name with one label
	// before `.internal`. Default: none.
	Hosts []string `json:"hosts,omitempty"`

	// Origins are the origins of web pages that may call it, as `https://console.example.com`. Default: its own.
	Origins []string `json:"origins,omitempty"`

	access  *access
	surface *node.Surface[http.Handler]
	logger  *zap.Logger

	pageHeaders string // what pages of other origins may send
}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.talos_admin", New: func() caddy.Module { return new(Admin) }}
}

// Provision expands placeholders and refuses a listener that is open to others than the callers it was told of.
func (a *Admin) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	for _, list := range [][]string{a.Allow, a.Hosts, a.Origins} {
		if err := expandAll(list); err != nil {
			return err
		}
	}
	var err error
	if a.access, err = newAccess(a.Allow, a.Hosts, a.Origins); err != nil {
		return err
	}
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return errors.New("talos_admin belongs into a route of an HTTP server")
	}
	for _, address := range server.Listen {
		if len(a.Allow) == 0 && !ports.OnLoopback(address) {
			return fmt.Errorf("talos_admin on the listener %s, which can be reached from beyond this machine: "+
				"`bind` it to 127.0.0.1 ::1 or to a unix socket, or say with `allow` who may call it", address)
		}
	}
	if everyone := a.access.everyone(); everyone != "" {
		a.logger.Warn("`allow` lets everyone who reaches this listener manage keys, and asks for no credential: "+
			"name the ranges of your operators", zap.String("allow", everyone), zap.Strings("listen", server.Listen))
	}
	app, err := node.Of(ctx)
	if err != nil {
		return err
	}
	closing, closed := context.WithCancel(ctx)
	server.RegisterOnShutdown(closed)
	options := adminapi.Options{
		Logger: a.logger, Audit: app.AuditLogger(),
		WhenClosing: func(f func()) (stop func() bool) { return context.AfterFunc(closing, f) },
	}
	a.surface = node.NewSurface(app, func(n node.Node) http.Handler { return n.Admin(options) })
	a.pageHeaders = "Cache-Control, Content-Type, Pragma"
	if app.Upstream != nil {
		a.pageHeaders += ", Authorization" // the caller's own, for the upstream
	}
	return nil
}

// ServeHTTP answers a request of the private surface.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if err := a.access.check(r); err != nil {
		if c := a.logger.Check(zap.DebugLevel, "refused"); c != nil {
			c.Write(zap.Error(err), zap.String("peer", r.RemoteAddr), zap.String("host", r.Host))
		}
		adminapi.WriteError(w, core.NewError(core.Forbidden, err.Error()))
		return nil
	}
	if a.crossOrigin(w, r) {
		return nil
	}
	handler := a.surface.Hold()
	defer a.surface.Release()
	handler.ServeHTTP(w, r)
	return nil
}

// crossOrigin tells the browser that a page of an allowed origin may read the answer. A preflight request is answered
// here, and done.
func (a *Admin) crossOrigin(w http.ResponseWriter, r *http.Request) (done bool) {
	if len(a.access.origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if _, ok := a.access.origins[origin]; !ok {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "Ory-Talos-Cache, RateLimit, RateLimit-Policy, Retry-After")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", a.pageHeaders)
	h.Set("Access-Control-Max-Age", "600")
	if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

// expandAll expands the placeholders of a list in place.
func expandAll(list []string) error {
	repl := caddy.NewReplacer()
	for i, s := range list {
		expanded, err := repl.ReplaceOrErr(s, true, true)
		if err != nil {
			return err
		}
		list[i] = expanded
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Admin)(nil)
	_ caddyhttp.MiddlewareHandler = (*Admin)(nil)
)
