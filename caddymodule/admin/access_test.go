package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/node"
)

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

type accessCase struct {
	name   string
	caller caller
	want   error
}

func testAccess(t *testing.T, cases []accessCase) {
	t.Helper()
	a, err := newAccess(
		[]string{"10.1.0.0/16", "2001:db8::7"}, []string{"talos.internal"}, []string{"https://console.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := a.check(c.caller.request()); !errors.Is(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestAccess_LoopbackUnixSocketsAndAllowedRanges(t *testing.T) {
	t.Parallel()
	testAccess(t, []accessCase{
		{"loopback", caller{}, nil},
		{"loopback range", caller{peer: "127.3.4.5:1"}, nil},
		{"IPv6 loopback", caller{peer: "[::1]:1"}, nil},
		{"IPv4 loopback in IPv6 form", caller{peer: "[::ffff:127.0.0.1]:1"}, nil},
		{"unix socket", caller{unix: true}, nil},
		{"allowed range", caller{peer: "10.1.2.3:1"}, nil},
		{"allowed range in IPv6 form", caller{peer: "[::ffff:10.1.2.3]:1"}, nil},
		{"allowed address", caller{peer: "[2001:db8::7]:1"}, nil},
		{"address with a zone", caller{peer: "[2001:db8::7%eth0]:1"}, nil},
		{"other private address", caller{peer: "10.2.0.1:1"}, errAddress},
		{"public address", caller{peer: "203.0.113.9:1"}, errAddress},
		{"other IPv6 address", caller{peer: "[2001:db8::8]:1"}, errAddress},
		{"peer without an address, not on a unix socket", caller{peer: "@"}, errAddress},
		{"unreadable peer", caller{peer: "localhost:1"}, errAddress},
		{"address that QUIC has not proved", caller{early: true}, errAddress},
	})
}

func TestAttack14_ForgedForwardingHeadersLendNoAddress(t *testing.T) {
	t.Parallel()
	xff := func(values ...string) http.Header { return http.Header{"X-Forwarded-For": values} }
	testAccess(t, []accessCase{
		{"a stranger claims loopback", caller{peer: "203.0.113.9:1", header: xff("127.0.0.1")}, errAddress},
		{"a trusted proxy asks for an allowed client",
			caller{trusted: true, client: "10.1.2.3", header: xff("10.1.2.3")}, nil},
		{"a trusted proxy asks for a stranger",
			caller{trusted: true, client: "203.0.113.9", header: xff("203.0.113.9")}, errAddress},
		{"a trusted proxy asks for itself", caller{trusted: true}, nil},
		{"a trusted proxy that is not allowed asks for itself",
			caller{peer: "192.0.2.1:1", trusted: true}, errAddress},
		{"a trusted proxy that is not allowed asks for an allowed client",
			caller{peer: "192.0.2.1:1", trusted: true, client: "10.1.2.3", header: xff("10.1.2.3")}, errAddress},
		{"a stranger writes the leftmost address of a trusted proxy's chain",
			caller{trusted: true, client: "127.0.0.1", header: xff("127.0.0.1, 203.0.113.9")}, errAddress},
		{"the same in two headers",
			caller{trusted: true, client: "127.0.0.1", header: xff("127.0.0.1", "203.0.113.9")}, errAddress},
		{"the same, unreadable",
			caller{trusted: true, client: "127.0.0.1", header: xff("127.0.0.1, unknown")}, errAddress},
		{"read from the right, what a stranger wrote is passed over",
			caller{trusted: true, strict: true, client: "10.1.2.3", header: xff("203.0.113.9, 10.1.2.3")}, nil},
		{"read from the right, the stranger is found",
			caller{trusted: true, strict: true, client: "203.0.113.9", header: xff("127.0.0.1, 203.0.113.9")}, errAddress},
		{"a trusted proxy does not say for whom it asks",
			caller{trusted: true, header: http.Header{"Via": {"1.1 proxy"}}}, errForwarded},
		{"a trusted proxy on a unix socket asks for nobody readable",
			caller{unix: true, trusted: true, strict: true, client: "@", header: xff("garbage")}, errAddress},
	})
}

func TestAttack16_AProxyOnThisHostLendsItsAddressToNobody(t *testing.T) {
	t.Parallel()
	var cases []accessCase
	for _, name := range []string{
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Forwarded", "Forwarded", "Via",
		"X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip", "X_Forwarded_For", "x-forwarded-for", "X.Real.Ip",
	} {
		header := http.Header{name: {"127.0.0.1"}}
		cases = append(cases,
			accessCase{name, caller{header: header}, errForwarded},
			accessCase{name + " on a unix socket", caller{unix: true, header: header}, errForwarded},
			accessCase{name + " from an allowed range", caller{peer: "10.1.2.3:1", header: header}, errForwarded})
	}
	cases = append(cases, accessCase{"HTTP/1.0", caller{proto10: true}, errForwarded})
	testAccess(t, cases)
}

func TestAttack16_DNSRebindingFindsNoHost(t *testing.T) {
	t.Parallel()
	get := http.MethodGet
	testAccess(t, []accessCase{
		{"IPv4 literal", caller{host: "127.0.0.1:4420"}, nil},
		{"IPv4 literal without port", caller{host: "127.0.0.1"}, nil},
		{"IPv6 literal", caller{host: "[::1]:4420"}, nil},
		{"IPv6 literal without port", caller{host: "[::1]"}, nil},
		{"localhost", caller{host: "localhost:4420"}, nil},
		{"localhost in capitals", caller{host: "LOCALHOST"}, nil},
		{"configured name", caller{host: "talos.internal:4420"}, nil},
		{"configured name in capitals", caller{host: "Talos.Internal"}, nil},
		{"another name", caller{host: "evil.example:4420"}, errHost},
		{"another name, GET", caller{method: get, host: "evil.example:4420"}, errHost},
		{"another name on a unix socket", caller{unix: true, host: "evil.example"}, errHost},
		{"a name that begins with an address", caller{host: "127.0.0.1.evil.example"}, errHost},
		{"a name under localhost", caller{host: "evil.localhost"}, errHost},
		{"a name that ends in a configured one", caller{host: "eviltalos.internal"}, errHost},
		{"a number", caller{host: "2130706433"}, errHost},
	})
	r := caller{}.request()
	r.Host = ""
	a, err := newAccess(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.check(r); !errors.Is(got, errHost) {
		t.Errorf("without a host: got %v", got)
	}
}

func TestAttack16_WebPagesMayNotCall(t *testing.T) {
	t.Parallel()
	h := func(pairs ...string) http.Header {
		header := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			header.Set(pairs[i], pairs[i+1])
		}
		return header
	}
	get := http.MethodGet
	testAccess(t, []accessCase{
		{"no browser", caller{}, nil},
		{"own page", caller{header: h("Origin", "http://127.0.0.1:4420", "Sec-Fetch-Site", "same-origin")}, nil},
		{"own page, old browser", caller{header: h("Origin", "http://127.0.0.1:4420")}, nil},
		{"address bar", caller{method: get, header: h("Sec-Fetch-Site", "none")}, nil},
		{"configured origin",
			caller{header: h("Origin", "https://console.example.com", "Sec-Fetch-Site", "cross-site")}, nil},
		{"other origin", caller{header: h("Origin", "https://evil.example")}, errOrigin},
		{"other origin, GET", caller{method: get, header: h("Origin", "https://evil.example")}, errOrigin},
		{"other port of the same host", caller{header: h("Origin", "http://127.0.0.1:3000")}, errOrigin},
		{"same site, other origin", caller{header: h("Sec-Fetch-Site", "same-site")}, errOrigin},
		{"image on a foreign page", caller{method: get, header: h("Sec-Fetch-Site", "cross-site")}, errOrigin},
		{"sandboxed page", caller{header: h("Origin", "null")}, errOrigin},
		{"configured origin with another scheme", caller{header: h("Origin", "http://console.example.com")}, errOrigin},
	})
}

func TestUnsafeListenersAreFound(t *testing.T) {
	t.Parallel()
	for listen, beyond := range map[string]bool{
		"127.0.0.1:4420": false, "[::1]:4420": false, "localhost:4420": false, "tcp/127.9.9.9:4420": false,
		"unix//run/talos.sock": false, "unix//run/talos.sock|0222": false, "udp/127.0.0.1:4420": false,
		"127.0.0.1:4420-4425": false, "[::ffff:127.0.0.1]:4420": false,
		":4420": true, "0.0.0.0:4420": true, "[::]:4420": true, "10.0.0.1:4420": true, "talos.internal:4420": true,
		"fd/3": true, "tailscale/:4420": true, "mynet/127.0.0.1:4420": true, "127.0.0.1:4420:9": true,
	} {
		if address, got := beyondLoopback([]string{"127.0.0.1:1", listen}); got != beyond || got && address != listen {
			t.Errorf("%s: got %t (%s), want %t", listen, got, address, beyond)
		}
	}
}

func TestPrivateRangesAreKnown(t *testing.T) {
	t.Parallel()
	a, err := newAccess([]string{"private_ranges"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"10.9.8.7": true, "192.168.1.1": true, "172.16.0.1": true, "fd00::1": true, "127.0.0.1": true,
		"8.8.8.8": false, "2001:db8::1": false, "172.32.0.1": false,
	} {
		if got := a.allowed(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: got %t", text, got)
		}
	}
}

func TestPreflightOfAnAllowedOriginIsAnswered(t *testing.T) {
	t.Parallel()
	access, err := newAccess(nil, nil, []string{"https://Console.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	reached := 0
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reached++; w.WriteHeader(http.StatusTeapot) })
	a := &Admin{access: access, logger: caddy.Log()}
	a.surface = node.NewSurface(new(node.App), func(node.Node) http.Handler { return answer })
	call := func(method, origin string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		header := http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}}
		if err := a.ServeHTTP(w, caller{method: method, header: header}.request(), nil); err != nil {
			t.Error(err)
		}
		return w
	}
	w := call(http.MethodOptions, "https://console.example.com")
	if w.Code != http.StatusNoContent || w.Header().Get("Access-Control-Allow-Origin") != "https://console.example.com" {
		t.Errorf("preflight: got %d %v", w.Code, w.Header())
	}
	if w := call(http.MethodOptions, "https://evil.example"); w.Code != http.StatusForbidden || reached != 0 ||
		w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("foreign preflight: got %d %v", w.Code, w.Header())
	}
	w = call(http.MethodPost, "https://console.example.com")
	if w.Code != http.StatusTeapot || reached != 1 || w.Header().Get("Vary") != "Origin" ||
		w.Header().Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("call: got %d %v", w.Code, w.Header())
	}
}
