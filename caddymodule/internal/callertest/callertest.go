package callertest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Caller is a request to the private surface, as Caddy hands it over. What is left out is that of a plain call from
// this machine.
type Caller struct {
	Method  string
	Peer    string // address and port
	Host    string
	Header  http.Header
	Proto10 bool // HTTP/1.0
	Unix    bool // over a unix socket
	Early   bool // before the TLS handshake has ended

	Trusted bool   // the peer is a trusted proxy
	Strict  bool   // trusted_proxies_strict
	Client  string // whom Caddy takes for the client; default: the peer
}

// Request makes the request.
func (c Caller) Request() *http.Request {
	if c.Method == "" {
		c.Method = http.MethodPost
	}
	ctx := context.Background()
	r := httptest.NewRequestWithContext(ctx, c.Method, "/v2alpha1/admin/apiKeys:verify", http.NoBody)
	r.Host = "127.0.0.1:4420"
	if c.Host != "" {
		r.Host = c.Host
	}
	r.RemoteAddr = "127.0.0.1:50000"
	var local net.Addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4420}
	if c.Peer != "" {
		r.RemoteAddr = c.Peer
	}
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	if c.Unix {
		r.RemoteAddr, local, client = "@", &net.UnixAddr{Net: "unix", Name: "/run/talos.sock"}, ""
	}
	if c.Client != "" {
		client = c.Client
	}
	if c.Proto10 {
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0
	}
	if c.Early {
		r.TLS = new(tls.ConnectionState)
	}
	for name, values := range c.Header {
		r.Header[name] = values
	}
	server := &caddyhttp.Server{ClientIPHeaders: []string{"X-Forwarded-For"}}
	if c.Strict {
		server.TrustedProxiesStrict = 1
	}
	ctx = context.WithValue(ctx, caddyhttp.ServerCtxKey, server)
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, local)
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{
		caddyhttp.TrustedProxyVarKey: c.Trusted,
		caddyhttp.ClientIPVarKey:     client,
	})
	return r.WithContext(ctx)
}
