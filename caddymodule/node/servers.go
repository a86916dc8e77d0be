package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/internal/ports"
)

// addServer notes the server that a handler is provisioned for. Another process that listens on its ports is an error,
// unless the configuration is only checked.
func (a *App) addServer(ctx caddy.Context) error {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || slices.Contains(a.servers, server) {
		return nil
	}
	a.servers = append(a.servers, server)
	if a.onlyChecked {
		return nil
	}
	return checkPorts(ctx, server)
}

// checkPorts compares the ports of all servers of the configuration with those of other processes. Caddy starts apps in
// no order: the servers may listen already.
func (a *App) checkPorts(ctx context.Context) error {
	if a.http == nil {
		return nil
	}
	app, err := a.http()
	if err != nil {
		return err
	}
	if app == nil {
		return nil
	}
	for _, server := range app.Servers {
		if err := checkPorts(ctx, server); err != nil {
			return err
		}
	}
	return nil
}

func checkPorts(ctx context.Context, server *caddyhttp.Server) error {
	if slices.Equal(server.Protocols, []string{"h3"}) {
		return nil // it has no TCP listener
	}
	if err := ports.Check(ctx, server.Listen); err != nil {
		return fmt.Errorf("not listening: %w", err)
	}
	return nil
}
