package gate

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
)

// answeredBefore names a handler that answers every request before the gate that is being loaded can see one, or is
// empty. It looks at the lists of routes around the gate. What answers some requests only may be meant so.
func answeredBefore(ctx caddy.Context, server *caddyhttp.Server) string {
	lists := []caddyhttp.RouteList{server.Routes}
	for _, module := range ctx.Modules() {
		if subroute, ok := module.(*caddyhttp.Subroute); ok {
			lists = append(lists, subroute.Routes)
		}
	}
	for _, routes := range lists {
		at := loading(routes)
		if at < 0 {
			continue // the gate is in the error routes beside this list
		}
		if name := answering(routes[:at]); name != "" {
			return name
		}
		if name := answeringRaw(routes[at].HandlersRaw); name != "" {
			return name
		}
	}
	return ""
}

// handlerConfig is what shows whether a handler answers every request.
type handlerConfig struct {
	Handler    string               `json:"handler"`
	PassThru   bool                 `json:"pass_thru"`   // of file_server
	StatusCode caddyhttp.WeakString `json:"status_code"` // of static_response
	Routes     caddyhttp.RouteList  `json:"routes"`      // of subroute
}

// answering names a handler in a list of loaded routes that answers every request, or is empty.
func answering(routes caddyhttp.RouteList) string {
	for i := range routes {
		if !takesAll(routes, i, ownMatchers(&routes[i])) {
			continue
		}
		for _, handler := range routes[i].Handlers {
			config := handlerConfig{Handler: caddy.GetModuleName(handler)}
			switch h := handler.(type) {
			case *caddyhttp.Subroute:
				if name := answering(h.Routes); name != "" {
					return name
				}
			case *fileserver.FileServer:
				config.PassThru = h.PassThru
			case *caddyhttp.StaticResponse:
				config.StatusCode = h.StatusCode
			}
			if config.answersAll() {
				return config.Handler
			}
		}
	}
	return ""
}

// answeringRaw does the same for the handlers of a route that are not loaded yet, up to one that is a gate or has one
// in it.
func answeringRaw(handlers []json.RawMessage) string {
	for _, raw := range handlers {
		var config handlerConfig
		if bytes.Contains(raw, []byte(`"talos_gate"`)) || json.Unmarshal(raw, &config) != nil {
			return ""
		}
		for i := range config.Routes {
			if takesAll(config.Routes, i, config.Routes[i].MatcherSetsRaw) {
				if name := answeringRaw(config.Routes[i].HandlersRaw); name != "" {
					return name
				}
			}
		}
		if config.answersAll() {
			return config.Handler
		}
	}
	return ""
}

// earlyHints is a status of `respond` that is followed by the next handler's answer.
const earlyHints = 103

// answersAll says whether a handler answers every request that comes to it.
func (c *handlerConfig) answersAll() bool {
	switch c.Handler {
	case "reverse_proxy", "error", "talos_admin":
		return true
	case "file_server":
		return !c.PassThru
	case "static_response":
		return c.StatusCode.Int() != earlyHints
	default:
		return false
	}
}

// takesAll says whether a route with some matcher sets takes every request. Behind another route of its group it takes
// what that one leaves.
func takesAll[M ~[]E, E ~[]any | ~map[string]json.RawMessage](routes caddyhttp.RouteList, at int, sets M) bool {
	group := routes[at].Group
	if group != "" && slices.ContainsFunc(routes[:at], func(r caddyhttp.Route) bool { return r.Group == group }) {
		return false
	}
	return len(sets) == 0 || slices.ContainsFunc(sets, func(set E) bool { return len(set) == 0 })
}
