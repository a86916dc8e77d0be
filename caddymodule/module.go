package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// One init registers everything: the order of the directives depends on the order of these calls, and several inits of
// a package would run in the order of their files' names.
func init() { //nolint:gochecknoinits // the way in which modules of Caddy make themselves known
	caddy.RegisterModule(new(App))
	caddy.RegisterModule(new(Gate))
	caddy.RegisterModule(new(Admin))
	caddy.RegisterModule(new(Public))
	caddy.RegisterModule(new(RedactEncoder))
	caddy.RegisterModule(PlainPath{})

	httpcaddyfile.RegisterGlobalOption("talos", parseApp)

	httpcaddyfile.RegisterHandlerDirective("talos_public", parsePublic)
	httpcaddyfile.RegisterHandlerDirective("talos_gate", parseGate)
	httpcaddyfile.RegisterHandlerDirective("talos_admin", parseAdmin)

	// The public surface comes before the gate, so that selfRevoke needs no credential but the one in its body.
	httpcaddyfile.RegisterDirectiveOrder("talos_public", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("talos_gate", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("talos_admin", httpcaddyfile.Before, "abort")
}
