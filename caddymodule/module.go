package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/talos-edge/talos-edge/caddymodule/admin"
	_ "github.com/talos-edge/talos-edge/caddymodule/command" // a Caddy with this module has its command line
	"github.com/talos-edge/talos-edge/caddymodule/gate"
	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/caddymodule/public"
	"github.com/talos-edge/talos-edge/caddymodule/redact"
)

// One init registers everything: the order of the directives depends on the order of these calls, and several inits of
// a package would run in the order of their files' names.
func init() { //nolint:gochecknoinits // the way in which modules of Caddy make themselves known
	caddy.RegisterModule(new(node.App))
	caddy.RegisterModule(new(gate.Gate))
	caddy.RegisterModule(new(admin.Admin))
	caddy.RegisterModule(new(public.Public))
	caddy.RegisterModule(new(redact.Encoder))
	caddy.RegisterModule(gate.PlainPath{})

	httpcaddyfile.RegisterGlobalOption("talos", node.ParseCaddyfile)

	httpcaddyfile.RegisterHandlerDirective("talos_public", public.ParseCaddyfile)
	httpcaddyfile.RegisterHandlerDirective("talos_gate", gate.ParseCaddyfile)
	httpcaddyfile.RegisterHandlerDirective("talos_admin", admin.ParseCaddyfile)

	// The public surface comes before the gate, so that selfRevoke needs no credential but the one in its body.
	httpcaddyfile.RegisterDirectiveOrder("talos_public", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("talos_gate", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("talos_admin", httpcaddyfile.Before, "abort")
}
