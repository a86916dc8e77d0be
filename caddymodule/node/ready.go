package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/internal/ports"
)

// watchStart registers the app for Caddy's event "started", which Caddy sends after it has started all apps. It starts
// them in no particular order, so the HTTP servers may not be running yet when Start is called.
func (a *App) watchStart(ctx caddy.Context) error {
	a.http = func() (*caddyhttp.App, error) {
		module, err := ctx.AppIfConfigured("http")
		if errors.Is(err, caddy.ErrNotConfigured) {
			return nil, nil //nolint:nilnil // a configuration need not have it
		}
		if err != nil {
			return nil, err
		}
		app, ok := module.(*caddyhttp.App)
		if !ok {
			return nil, fmt.Errorf("the app http is a %T", module)
		}
		return app, nil
	}
	module, err := ctx.App("events")
	if err != nil {
		return err
	}
	events, ok := module.(*caddyevents.App)
	if !ok {
		return fmt.Errorf("the app events is a %T", module)
	}
	a.emitter = &emitter{events: events, ctx: ctx, logger: a.logger}
	return events.On("started", started{a})
}

// started is notified when the configuration of an app runs.
type started struct{ app *App }

// Handle logs what is served, and begins to emit events. Of two processes that start at once, each may have found the
// ports free.
func (s started) Handle(ctx context.Context, _ caddy.Event) error {
	if err := ports.Check(ctx, nil); err != nil {
		s.app.logger.Error("another process has begun to listen at the same time", zap.Error(err))
	}
	s.app.logReady()
	s.app.emitter.start() //nolint:contextcheck // that of the app, as start says
	return nil
}

// logReady logs in one line what is served, where, and from which keys.
func (a *App) logReady() {
	var serving, open []string
	for _, server := range a.servers {
		for _, address := range server.Listen {
			serving = append(serving, a.url(server, address))
			if !ports.OnLoopback(address) {
				open = append(open, address)
			}
		}
	}
	fields := append(a.settings.kind.describe(), zap.Strings("serving", serving))
	if a.settings.several() {
		fields = append(fields, zap.Int("networks", len(a.settings.networks)))
	} else {
		fields = append(fields, zap.String("key_prefix", a.settings.networks[0].prefixes.SecretOrDefault()))
	}
	fields = append(fields, zap.String("version", adminapi.Version()))
	if len(open) > 0 {
		fields = append(fields, zap.Strings("reachable_from_other_machines", open))
	}
	a.logger.Info("ready", fields...)
}

// url is where a server answers, for people. An address that is no port of an IP address is returned as it is.
func (a *App) url(server *caddyhttp.Server, text string) string {
	address, err := caddy.ParseNetworkAddress(text)
	if err != nil || address.IsUnixNetwork() || address.IsFdNetwork() || address.PortRangeSize() != 1 {
		return text
	}
	scheme := "http"
	if app, err := a.http(); len(server.TLSConnPolicies) > 0 && err == nil && app != nil {
		plain := app.HTTPPort
		if plain == 0 {
			plain = caddyhttp.DefaultHTTPPort
		}
		if address.StartPort != uint(plain) {
			scheme = "https"
		}
	}
	return scheme + "://" + net.JoinHostPort(address.Host, strconv.FormatUint(uint64(address.StartPort), 10))
}

// Interface guard.
var _ caddyevents.Handler = started{}
