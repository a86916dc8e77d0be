package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/internal/ports"
)

// addServer notes the server that a handler is provisioned for. For the first one it compares the ports of all servers
// of the configuration, unless that is only checked: nothing has been opened yet.
func (a *App) addServer(ctx caddy.Context) error {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || slices.Contains(a.servers, server) {
		return nil
	}
	a.servers = append(a.servers, server)
	if len(a.servers) > 1 || a.onlyChecked {
		return nil
	}
	for _, module := range ctx.Modules() { // the handler is a part of the app http
		if app, ok := module.(*caddyhttp.App); ok {
			return checkPorts(ctx, app)
		}
	}
	return nil
}

// checkPorts compares the ports of all servers of a configuration with those of other processes. The servers may listen
// already, or may not be provisioned yet.
func checkPorts(ctx context.Context, app *caddyhttp.App) error {
	repl := caddy.NewReplacer()
	var listen []string
	for _, server := range app.Servers {
		if slices.Equal(server.Protocols, []string{"h3"}) {
			continue // it has no TCP listener
		}
		for _, address := range server.Listen {
			listen = append(listen, repl.ReplaceKnown(address, ""))
		}
	}
	if err := ports.Check(ctx, listen); err != nil {
		return fmt.Errorf("not listening: %w", err)
	}
	return nil
}
