package gate

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
)

// siteGuard strips identity headers from every request of a site that has a gate, also from those that no gate sees. It
// is a matcher of the server's first route, and matches nothing: Caddy has no handler for a whole site, but asks the
// matchers of the first route about each request before any handler or other matcher can read a header.
type siteGuard struct {
	filter  *httpcred.Filter
	sources []string // the headers that the gate takes credentials from, canonical
}

// MatchWithError strips identity headers, unless a gate has set them. It never matches and never fails.
func (s *siteGuard) MatchWithError(r *http.Request) (bool, error) {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if _, admitted := vars[identityVar].(*identity); !admitted {
		s.filter.Strip(r)
	}
	return false, nil
}

// errNotGuarded says that the server's routes were compiled before the gate was loaded.
var errNotGuarded = errors.New("the gate is in a named route or in error routes")

// guardSite has identity headers stripped from all requests of the gate's site: of the hosts that its route of the
// server is for, or of all hosts. An error that is not errNotGuarded is about the configuration.
func (g *Gate) guardSite(server *caddyhttp.Server) error {
	at := loading(server.Routes)
	if at < 0 {
		return errNotGuarded
	}
	filter, err := httpcred.NewFilter(nil, g.filter.Prefixes()...)
	if err != nil {
		return err
	}
	first := &server.Routes[0]
	for _, set := range guardsOf(&server.Routes[at], &siteGuard{filter, g.reader.Headers()}) {
		if err := prependGuard(first, set); err != nil {
			return err
		}
		// A request may fail before it comes to a route.
		if server.Errors != nil && len(server.Errors.Routes) > 0 {
			if err := prependGuard(&server.Errors.Routes[0], set); err != nil {
				return err
			}
		}
	}
	return nil
}

// loading is the index of the route whose handlers are being loaded, or -1: Caddy loads the routes of a list in their
// order, and clears the configuration of each route's handlers when it has them.
func loading(routes caddyhttp.RouteList) int {
	return slices.IndexFunc(routes, func(r caddyhttp.Route) bool { return r.HandlersRaw != nil })
}

// guardsOf are the matcher sets that run a guard for the hosts of a route.
func guardsOf(route *caddyhttp.Route, guard *siteGuard) caddyhttp.MatcherSets {
	var guards caddyhttp.MatcherSets
	for _, set := range ownMatchers(route) {
		var guarded caddyhttp.MatcherSet
		for _, matcher := range set {
			if host, ok := matcher.(*caddyhttp.MatchHost); ok {
				guarded = append(guarded, host)
			}
		}
		if len(guarded) == 0 {
			return caddyhttp.MatcherSets{{guard}}
		}
		guards = append(guards, append(guarded, guard))
	}
	if len(guards) == 0 {
		return caddyhttp.MatcherSets{{guard}}
	}
	return guards
}

// ownMatchers are the matcher sets of a route without guards.
func ownMatchers(route *caddyhttp.Route) caddyhttp.MatcherSets {
	return slices.DeleteFunc(slices.Clone(route.MatcherSets), func(set caddyhttp.MatcherSet) bool {
		return guardIn(set) != nil
	})
}

// guardIn is the guard of a matcher set, which is its last matcher, or nil.
func guardIn(set caddyhttp.MatcherSet) *siteGuard {
	if len(set) == 0 {
		return nil
	}
	guard, _ := set[len(set)-1].(*siteGuard)
	return guard
}

// prependGuard has a route run a guard before its own matchers, which may not be loaded yet. A guard that strips the
// same as another one of the site is not added; one that would strip another gate's credential is an error.
func prependGuard(route *caddyhttp.Route, set caddyhttp.MatcherSet) error {
	if len(route.MatcherSets) == 0 && len(route.MatcherSetsRaw) == 0 {
		route.MatcherSets = caddyhttp.MatcherSets{{}} // the empty set matches, as no set did before
	}
	guard, added := guardIn(set), false
	for _, other := range route.MatcherSets {
		present := guardIn(other)
		if present == nil || !shareSite(other, set) {
			continue
		}
		if err := compatible(guard, present); err != nil {
			return err
		}
		added = added || len(other) == len(set) && slices.Equal(guard.sources, present.sources) &&
			slices.Equal(guard.filter.Prefixes(), present.filter.Prefixes())
	}
	if !added {
		route.MatcherSets = slices.Insert(route.MatcherSets, 0, set)
	}
	return nil
}

// shareSite says whether two matcher sets with guards are for the same hosts, or one of them for all.
func shareSite(a, b caddyhttp.MatcherSet) bool {
	if len(a) == 1 || len(b) == 1 {
		return true
	}
	return slices.EqualFunc(a[:len(a)-1], b[:len(b)-1], func(x, y any) bool {
		one, ok := x.(*caddyhttp.MatchHost)
		two, both := y.(*caddyhttp.MatchHost)
		return ok && both && slices.Equal(*one, *two)
	})
}

// compatible says whether neither of two guards of a site strips what the gate of the other takes credentials from.
func compatible(a, b *siteGuard) error {
	sources, prefixes := slices.Concat(a.sources, b.sources), slices.Concat(a.filter.Prefixes(), b.filter.Prefixes())
	if _, err := httpcred.NewFilter(sources, prefixes...); err != nil {
		return fmt.Errorf("of two gates on one site: %w", err)
	}
	return nil
}

// Interface guard.
var _ caddyhttp.RequestMatcherWithError = (*siteGuard)(nil)
