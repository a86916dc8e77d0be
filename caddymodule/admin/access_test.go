package admin

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/caddymodule/internal/callertest"
	"github.com/talos-edge/talos-edge/caddymodule/node"
)

// caller is a request to the private surface, as Caddy hands it over.
type caller = callertest.Caller

type accessCase struct {
	name   string
	caller caller
	want   error
}

func testAccess(t *testing.T, cases []accessCase) {
	t.Helper()
	a, err := newAccess(
		[]string{"10.1.0.0/16", "2001:db8::7"}, []string{"talos.internal", "*.tenants.internal"},
		[]string{"https://console.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := a.check(c.caller.Request()); !errors.Is(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestAccess_LoopbackUnixSocketsAndAllowedRanges(t *testing.T) {
	t.Parallel()
	testAccess(t, []accessCase{
		{"loopback", caller{}, nil},
		{"loopback range", caller{Peer: "127.3.4.5:1"}, nil},
		{"IPv6 loopback", caller{Peer: "[::1]:1"}, nil},
		{"IPv4 loopback in IPv6 form", caller{Peer: "[::ffff:127.0.0.1]:1"}, nil},
		{"unix socket", caller{Unix: true}, nil},
		{"allowed range", caller{Peer: "10.1.2.3:1"}, nil},
		{"allowed range in IPv6 form", caller{Peer: "[::ffff:10.1.2.3]:1"}, nil},
		{"allowed address", caller{Peer: "[2001:db8::7]:1"}, nil},
		{"address with a zone", caller{Peer: "[2001:db8::7%eth0]:1"}, nil},
		{"other private address", caller{Peer: "10.2.0.1:1"}, errAddress},
		{"public address", caller{Peer: "203.0.113.9:1"}, errAddress},
		{"other IPv6 address", caller{Peer: "[2001:db8::8]:1"}, errAddress},
		{"peer without an address, not on a unix socket", caller{Peer: "@"}, errAddress},
		{"unreadable peer", caller{Peer: "localhost:1"}, errAddress},
		{"address that QUIC has not proved", caller{Early: true}, errAddress},
	})
}

func TestAttack14_ForgedForwardingHeadersLendNoAddress(t *testing.T) {
	t.Parallel()
	xff := func(values ...string) http.Header { return http.Header{"X-Forwarded-For": values} }
	testAccess(t, []accessCase{
		{"a public address claims loopback", caller{Peer: "203.0.113.9:1", Header: xff("127.0.0.1")}, errAddress},
		{"a trusted proxy asks for an allowed client",
			caller{Trusted: true, Client: "10.1.2.3", Header: xff("10.1.2.3")}, nil},
		{"a trusted proxy asks for a public address",
			caller{Trusted: true, Client: "203.0.113.9", Header: xff("203.0.113.9")}, errAddress},
		{"a trusted proxy asks for itself", caller{Trusted: true}, nil},
		{"a trusted proxy that is not allowed asks for itself",
			caller{Peer: "192.0.2.1:1", Trusted: true}, errAddress},
		{"a trusted proxy that is not allowed asks for an allowed client",
			caller{Peer: "192.0.2.1:1", Trusted: true, Client: "10.1.2.3", Header: xff("10.1.2.3")}, errAddress},
		{"the client writes the leftmost address of a trusted proxy's chain",
			caller{Trusted: true, Client: "127.0.0.1", Header: xff("127.0.0.1, 203.0.113.9")}, errAddress},
		{"the same in two headers",
			caller{Trusted: true, Client: "127.0.0.1", Header: xff("127.0.0.1", "203.0.113.9")}, errAddress},
		{"the same, unreadable",
			caller{Trusted: true, Client: "127.0.0.1", Header: xff("127.0.0.1, unknown")}, errAddress},
		{"read from the right, what the client wrote is passed over",
			caller{Trusted: true, Strict: true, Client: "10.1.2.3", Header: xff("203.0.113.9, 10.1.2.3")}, nil},
		{"read from the right, a public address is found",
			caller{Trusted: true, Strict: true, Client: "203.0.113.9",
				Header: xff("127.0.0.1, 203.0.113.9")}, errAddress},
		{"a trusted proxy does not say for whom it asks",
			caller{Trusted: true, Header: http.Header{"Via": {"1.1 proxy"}}}, errForwarded},
		{"a trusted proxy on a unix socket asks for nobody readable",
			caller{Unix: true, Trusted: true, Strict: true, Client: "@", Header: xff("garbage")}, errAddress},
	})
}

func TestAttack16_AProxyOnThisHostLendsItsAddressToNobody(t *testing.T) {
	t.Parallel()
	var cases []accessCase
	for _, name := range []string{
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Forwarded",
		"Forwarded", "Via", "X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip",
		"X_Forwarded_For", "x-forwarded-for", "X.Real.Ip",
	} {
		header := http.Header{name: {"127.0.0.1"}}
		cases = append(cases,
			accessCase{name, caller{Header: header}, errForwarded},
			accessCase{name + " on a unix socket", caller{Unix: true, Header: header}, errForwarded},
			accessCase{name + " from an allowed range", caller{Peer: "10.1.2.3:1", Header: header}, errForwarded})
	}
	cases = append(cases, accessCase{"HTTP/1.0", caller{Proto10: true}, errForwarded})
	testAccess(t, cases)
}

func TestAttack16_DNSRebindingFindsNoHost(t *testing.T) {
	t.Parallel()
	get := http.MethodGet
	testAccess(t, []accessCase{
		{"IPv4 literal", caller{Host: "127.0.0.1:4420"}, nil},
		{"IPv4 literal without port", caller{Host: "127.0.0.1"}, nil},
		{"IPv6 literal", caller{Host: "[::1]:4420"}, nil},
		{"IPv6 literal without port", caller{Host: "[::1]"}, nil},
		{"localhost", caller{Host: "localhost:4420"}, nil},
		{"localhost in capitals", caller{Host: "LOCALHOST"}, nil},
		{"configured name", caller{Host: "talos.internal:4420"}, nil},
		{"configured name in capitals", caller{Host: "Talos.Internal"}, nil},
		{"another name", caller{Host: "evil.example:4420"}, errHost},
		{"another name, GET", caller{Method: get, Host: "evil.example:4420"}, errHost},
		{"another name on a unix socket", caller{Unix: true, Host: "evil.example"}, errHost},
		{"a name that begins with an address", caller{Host: "127.0.0.1.evil.example"}, errHost},
		{"a name under localhost", caller{Host: "evil.localhost"}, errHost},
		{"a name that ends in a configured one", caller{Host: "eviltalos.internal"}, errHost},
		{"a name below *.tenants.internal", caller{Host: "One.tenants.internal:4420"}, nil},
		{"two labels below it", caller{Host: "a.one.tenants.internal"}, errHost},
		{"the name that it is below", caller{Host: "tenants.internal"}, errHost},
		{"an empty label below it", caller{Host: ".tenants.internal"}, errHost},
		{"a number", caller{Host: "2130706433"}, errHost},
	})
	r := caller{}.Request()
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
		{"own page", caller{Header: h("Origin", "http://127.0.0.1:4420", "Sec-Fetch-Site", "same-origin")}, nil},
		{"own page, old browser", caller{Header: h("Origin", "http://127.0.0.1:4420")}, nil},
		{"address bar", caller{Method: get, Header: h("Sec-Fetch-Site", "none")}, nil},
		{"configured origin",
			caller{Header: h("Origin", "https://console.example.com", "Sec-Fetch-Site", "cross-site")}, nil},
		{"other origin", caller{Header: h("Origin", "https://evil.example")}, errOrigin},
		{"other origin, GET", caller{Method: get, Header: h("Origin", "https://evil.example")}, errOrigin},
		{"other port of the same host", caller{Header: h("Origin", "http://127.0.0.1:3000")}, errOrigin},
		{"same site, other origin", caller{Header: h("Sec-Fetch-Site", "same-site")}, errOrigin},
		{"image on a foreign page", caller{Method: get, Header: h("Sec-Fetch-Site", "cross-site")}, errOrigin},
		{"sandboxed page", caller{Header: h("Origin", "null")}, errOrigin},
		{"configured origin with another scheme", caller{Header: h("Origin", "http://console.example.com")}, errOrigin},
	})
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
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached++
		w.WriteHeader(http.StatusTeapot)
	})
	a := &Admin{access: access, logger: caddy.Log()}
	a.surface = node.NewSurface(new(node.App), func(node.Node) http.Handler { return answer })
	call := func(method, origin string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		header := http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}}
		if err := a.ServeHTTP(w, caller{Method: method, Header: header}.Request(), nil); err != nil {
			t.Error(err)
		}
		return w
	}
	w := call(http.MethodOptions, "https://console.example.com")
	if w.Code != http.StatusNoContent {
		t.Errorf("preflight: got %d", w.Code)
	}
	if got := w.Header().Get("Access-Control-Allow-Origin"); got != "https://console.example.com" {
		t.Errorf("preflight: the allowed origin is %q", got)
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
