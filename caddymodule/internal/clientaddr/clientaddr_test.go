package clientaddr_test

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/internal/callertest"
	"github.com/talos-edge/talos-edge/caddymodule/internal/clientaddr"
)

// Without a trusted proxy the client is the peer, whatever the request says.
func TestClientAddress_OfAnUntrustedPeerIsThePeer(t *testing.T) {
	t.Parallel()
	claim := http.Header{"X-Forwarded-For": {"203.0.113.7"}}
	for name, c := range map[string]struct {
		caller callertest.Caller
		want   string
	}{
		"plain":            {callertest.Caller{Peer: "192.0.2.1:1"}, "192.0.2.1"},
		"claims another":   {callertest.Caller{Peer: "192.0.2.1:1", Header: claim}, "192.0.2.1"},
		"IPv4 in IPv6":     {callertest.Caller{Peer: "[::ffff:192.0.2.1]:1"}, "192.0.2.1"},
		"unix socket":      {callertest.Caller{Unix: true}, ""},
		"unix, as a proxy": {callertest.Caller{Unix: true, Trusted: true, Client: "@"}, ""},
		"unix, as a proxy for somebody": {
			callertest.Caller{Unix: true, Trusted: true, Client: "203.0.113.7", Header: claim}, "203.0.113.7",
		},
	} {
		want := netip.Addr{}
		if c.want != "" {
			want = netip.MustParseAddr(c.want)
		}
		if got := clientaddr.Of(c.caller.Request()); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
