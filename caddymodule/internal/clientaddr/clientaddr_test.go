package clientaddr

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Without a trusted proxy the client is the peer, whatever the request says.
func TestClientAddress_OfAnUntrustedPeerIsThePeer(t *testing.T) {
	t.Parallel()
	claim := http.Header{"X-Forwarded-For": {"203.0.113.7"}}
	for name, c := range map[string]struct {
		caller caller
		want   string
	}{
		"plain":            {caller{peer: "192.0.2.1:1"}, "192.0.2.1"},
		"claims another":   {caller{peer: "192.0.2.1:1", header: claim}, "192.0.2.1"},
		"IPv4 in IPv6":     {caller{peer: "[::ffff:192.0.2.1]:1"}, "192.0.2.1"},
		"unix socket":      {caller{unix: true}, ""},
		"unix, as a proxy": {caller{unix: true, trusted: true, client: "@"}, ""},
		"unix, as a proxy for somebody": {
			caller{unix: true, trusted: true, client: "203.0.113.7", header: claim}, "203.0.113.7",
		},
	} {
		want := netip.Addr{}
		if c.want != "" {
			want = netip.MustParseAddr(c.want)
		}
		if got := Of(c.caller.request()); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// caller is a request to the private surface, as Caddy hands it over. What is left out is that of a plain call from
// this machine.
type caller struct {
	method  string
	peer    string
	host    string
	header  http.Header
	proto10 bool
	unix    bool
	early   bool

	trusted bool   // the peer is a trusted proxy
	strict  bool   // trusted_proxies_strict
	client  string // whom Caddy takes for the client; default: the peer
}

func (c caller) request() *http.Request {
	if c.method == "" {
		c.method = http.MethodPost
	}
	r := httptest.NewRequest(c.method, "/v2alpha1/admin/apiKeys:verify", nil)
	r.Host = "127.0.0.1:4420"
	if c.host != "" {
		r.Host = c.host
	}
	r.RemoteAddr = "127.0.0.1:50000"
	var local net.Addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4420}
	if c.peer != "" {
		r.RemoteAddr = c.peer
	}
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	if c.unix {
		r.RemoteAddr, local, client = "@", &net.UnixAddr{Net: "unix", Name: "/run/talos.sock"}, ""
	}
	if c.client != "" {
		client = c.client
	}
	if c.proto10 {
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0
	}
	if c.early {
		r.TLS = &tls.ConnectionState{HandshakeComplete: false}
	}
	for name, values := range c.header {
		r.Header[name] = values
	}
	server := &caddyhttp.Server{ClientIPHeaders: []string{"X-Forwarded-For"}}
	if c.strict {
		server.TrustedProxiesStrict = 1
	}
	ctx := context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server)
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, local)
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{
		caddyhttp.TrustedProxyVarKey: c.trusted,
		caddyhttp.ClientIPVarKey:     client,
	})
	return r.WithContext(ctx)
}
