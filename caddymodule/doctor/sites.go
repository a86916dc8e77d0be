package doctor

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/internal/setup"
)

// site is one of a server's routes at the highest level, which a Caddyfile makes of a site, and what is in it.
type site struct {
	name   string   // for people
	hosts  []string // that it is for; none: any
	server *caddyhttp.Server
	gates  int
	admin  []adminOptions
	apps   []app
}

// app is an upstream of a reverse proxy.
type app struct {
	dial  string
	gated bool // a gate comes before it, on some paths at least
}

// adminOptions are those of a `talos_admin`.
type adminOptions struct {
	Allow []string `json:"allow"`
}

// walker goes through the routes of a server.
type walker struct {
	setup   *setup.Setup
	server  *caddyhttp.Server
	site    *site
	refused []error
	depth   int
}

// maxDepth bounds nested routes; named ones may name each other in a circle.
const maxDepth = 50

// readSites finds what the servers have of this module, and the apps behind them. This module's handlers are
// provisioned; errors say why a start would refuse them.
func readSites(s *setup.Setup) (sites []site, refused []error) {
	for _, name := range slices.Sorted(maps.Keys(s.Servers)) {
		server := s.Servers[name]
		if server == nil {
			continue
		}
		where := strings.Join(server.Listen, " ")
		if where == "" {
			where = name
		}
		common := false // a gate that comes before later routes
		for i := range server.Routes {
			route := &server.Routes[i]
			w := &walker{setup: s, server: server, site: newSite(where, route, server)}
			gated := w.route(route, common)
			common = common || gated && !route.Terminal
			sites = append(sites, *w.site)
			refused = append(refused, w.refused...)
		}
	}
	return sites, refused
}

// newSite names a site by its listeners and its hosts.
func newSite(where string, route *caddyhttp.Route, server *caddyhttp.Server) *site {
	s := &site{name: where, hosts: hostsOf(route), server: server}
	if len(s.hosts) > 0 {
		s.name = strings.Join(s.hosts, " ") + " on " + where
	}
	return s
}

// hostsOf are the host names that a route is for.
func hostsOf(route *caddyhttp.Route) (hosts []string) {
	for _, set := range route.MatcherSetsRaw {
		var names []string
		if json.Unmarshal(set["host"], &names) == nil {
			hosts = append(hosts, names...)
		}
	}
	return hosts
}

// routes goes through a list. It returns whether a request may have passed a gate behind it.
func (w *walker) routes(list caddyhttp.RouteList, gated bool) bool {
	if w.depth == maxDepth {
		return gated
	}
	w.depth++
	defer func() { w.depth-- }()
	groups := map[string]bool{} // of which one route at most is taken
	for _, route := range list {
		before := gated
		for group, passed := range groups {
			before = before || passed && group != route.Group
		}
		switch passed := w.route(&route, before); {
		case route.Terminal:
		case route.Group != "":
			groups[route.Group] = groups[route.Group] || passed
		default:
			gated = gated || passed
		}
	}
	return gated || slices.Contains(slices.Collect(maps.Values(groups)), true)
}

// route goes through the handlers of one route.
func (w *walker) route(route *caddyhttp.Route, gated bool) bool {
	for _, raw := range route.HandlersRaw {
		var h struct {
			Handler   string                     `json:"handler"`
			Routes    caddyhttp.RouteList        `json:"routes"`
			Name      string                     `json:"name"`
			Upstreams []struct{ Dial string }    `json:"upstreams"`
			Dynamic   map[string]json.RawMessage `json:"dynamic_upstreams"`
		}
		if err := json.Unmarshal(raw, &h); err != nil {
			continue // another module's handler, with other types
		}
		switch h.Handler {
		case "talos_gate":
			gated = true
			w.site.gates++
			w.provision(raw)
		case "talos_admin":
			w.readAdmin(raw)
			w.provision(raw)
		case "talos_public":
			w.provision(raw)
		case "subroute":
			gated = w.routes(h.Routes, gated) || gated
		case "invoke":
			if named := w.server.NamedRoutes[h.Name]; named != nil {
				gated = w.routes(caddyhttp.RouteList{*named}, gated) || gated
			}
		case "reverse_proxy":
			for _, u := range h.Upstreams {
				w.site.apps = append(w.site.apps, app{strings.Replace(u.Dial, "localhost:", "127.0.0.1:", 1), gated})
			}
		}
	}
	return gated
}

func (w *walker) provision(raw json.RawMessage) {
	if err := w.setup.Provision(w.server, raw); err != nil {
		w.refused = append(w.refused, fmt.Errorf("%s: %w", w.site.name, err))
	}
}

func (w *walker) readAdmin(raw json.RawMessage) {
	var o adminOptions
	if json.Unmarshal(raw, &o) == nil {
		w.site.admin = append(w.site.admin, o)
	}
}
