package gate

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A request may fail before it comes to a route. Error routes then get it as it came.
func TestGate_ErrorRoutesStripIdentityHeadersThemselves(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, &Gate{}, &fakeAuthority{}, nil)
	server := &caddyhttp.Server{
		Routes: caddyhttp.RouteList{{HandlersRaw: []json.RawMessage{[]byte(`{"handler":"talos_gate"}`)}}},
		Errors: &caddyhttp.HTTPErrorConfig{Routes: caddyhttp.RouteList{{}}},
	}
	if err := g.guardSite(server); err != nil {
		t.Fatal(err)
	}
	for name, routes := range map[string]caddyhttp.RouteList{
		"routes": server.Routes, "error routes": server.Errors.Routes,
	} {
		r := inCaddy(requestWith(t, "X-Talos-Actor: root"))
		if matches, err := routes[0].MatcherSets.AnyMatchWithError(r); err != nil || !matches {
			t.Errorf("%s: matches: %t, %v", name, matches, err)
		}
		if len(r.Header) > 0 {
			t.Errorf("%s: the headers are %v", name, r.Header)
		}
	}
}
