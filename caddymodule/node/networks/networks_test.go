package networks_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/goleak"

	"github.com/talos-edge/talos-edge/caddymodule/node/networks"
	"github.com/talos-edge/talos-edge/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCanonical_IsOneSpellingOfAHost(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	for text, want := range map[string]string{
		"tenant1.example.com":       "tenant1.example.com",
		"Tenant1.EXAMPLE.com":       "tenant1.example.com",
		"tenant1.example.com.":      "tenant1.example.com",
		"tenant1.example.com:8080":  "tenant1.example.com",
		"tenant1.example.com.:8080": "tenant1.example.com",
		"tenant1.example.com:":      "tenant1.example.com",
		"my_tenant.internal":        "my_tenant.internal",
		"localhost":                 "localhost",
		"bücher.example":            "xn--bcher-kva.example",
		"BÜCHER.example:443":        "xn--bcher-kva.example",
		"XN--BCHER-KVA.example":     "xn--bcher-kva.example",
		"127.0.0.1":                 "127.0.0.1",
		"127.0.0.1:80":              "127.0.0.1",
		"::1":                       "::1",
		"[::1]":                     "::1",
		"[::1]:80":                  "::1",
		"[0:0::0:1]:80":             "::1",
		"[::ffff:127.0.0.1]":        "127.0.0.1",
		"[2001:DB8::A]":             "2001:db8::a",
		long + ".example":           long + ".example",

		"":                        "",
		".":                       "",
		":80":                     "",
		"a..b":                    "",
		".a":                      "",
		"a.example..":             "",
		"a.example:80:80":         "",
		"a.example:http":          "",
		"a.example/":              "",
		"a.example\\":             "",
		"user@a.example":          "",
		"a.example,b.example":     "",
		"a.example b.example":     "",
		"a.example\x00":           "",
		"a%2eexample":             "",
		"*.example":               "",
		"127.1":                   "",
		"127.0.0.1.":              "127.0.0.1",
		"[::1":                    "",
		"[::1]80":                 "",
		"[::1]:http":              "",
		"[127.0.0.1]":             "",
		"[fe80::1%25eth0]":        "",
		"fe80::1%eth0":            "",
		"a\u2028.example":         "",
		long + "a.example":        "",
		strings.Repeat("a.", 128): "",
	} {
		got, ok := networks.Canonical(text)
		if got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %t, want %q", text, got, ok, want)
		}
	}
}

func TestParseHost_HasNoPort(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"a.example": true, "::1": true, "[::1]": true, "127.0.0.1": true,
		"a.example:80": false, "a.example:": false, "[::1]:80": false, "127.0.0.1:80": false, "a/b": false, "": false,
	} {
		if _, err := networks.ParseHost(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParseID_IsAUUIDInItsCanonicalForm(t *testing.T) {
	t.Parallel()
	const id = "550e8400-e29b-41d4-a716-446655440001"
	for text, good := range map[string]bool{
		id: true, strings.ToUpper(id): true, "00000000-0000-0000-0000-000000000000": true,
		"{" + id + "}": false, "urn:uuid:" + id: false,
		strings.ReplaceAll(id, "-", ""): false, "tenant1": false, "": false,
	} {
		if got, err := networks.ParseID(text); (err == nil) != good || good && got.String() != strings.ToLower(text) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

// request is one for a host. forwarded are values of X-Forwarded-Host; trusted says what the server says of the peer.
func request(t testing.TB, host string, trusted bool, forwarded ...string) *http.Request {
	t.Helper()
	vars := map[string]any{caddyhttp.TrustedProxyVarKey: trusted}
	ctx := context.WithValue(t.Context(), caddyhttp.VarsCtxKey, vars)
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.Host = host
	for _, value := range forwarded {
		r.Header.Add("X-Forwarded-Host", value)
	}
	return r
}

type named struct{ name string }

func (n *named) String() string {
	if n == nil {
		return "none"
	}
	return n.name
}

func twoNetworks() *networks.Registry[named] {
	g := new(networks.Registry[named])
	g.Replace([]networks.Member[named]{
		{ID: core.NetworkID{1}, Hosts: []string{"a.example", "a.internal"}, Value: &named{"A"}},
		{ID: core.NetworkID{2}, Hosts: []string{"b.example", "::1"}, Value: &named{"B"}},
	})
	return g
}

func TestRegistry_TheHostSaysWhoseARequestIs(t *testing.T) {
	t.Parallel()
	g := twoNetworks()
	for name, tc := range map[string]struct {
		host      string
		trusted   bool
		forwarded []string
		want      string
	}{
		"a host":                           {"a.example", false, nil, "A"},
		"its second":                       {"a.internal:8080", false, nil, "A"},
		"another spelling":                 {"A.Example.:443", false, nil, "A"},
		"another network's":                {"b.example", false, nil, "B"},
		"an address":                       {"[::1]:80", false, nil, "B"},
		"of none":                          {"c.example", false, nil, "none"},
		"below one":                        {"www.a.example", false, nil, "none"},
		"no host":                          {"", false, nil, "none"},
		"a forged forwarded host":          {"a.example", false, []string{"b.example"}, "A"},
		"a forwarded host":                 {"proxy.internal", true, []string{"b.example:443"}, "B"},
		"a forwarded host of none":         {"a.example", true, []string{"c.example"}, "none"},
		"a forwarded host that is empty":   {"a.example", true, []string{""}, "none"},
		"two forwarded hosts":              {"a.example", true, []string{"b.example", "a.example"}, "none"},
		"two forwarded hosts in one value": {"a.example", true, []string{"b.example, a.example"}, "none"},
		"a trusted proxy that sends none":  {"a.example", true, nil, "A"},
	} {
		if got := g.Of(request(t, tc.host, tc.trusted, tc.forwarded...)).String(); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestRegistry_ANetworkWithoutHostsHasEveryHost(t *testing.T) {
	t.Parallel()
	g := new(networks.Registry[named])
	if got := g.Of(request(t, "a.example", false)); got != nil {
		t.Errorf("an empty registry has %s", got)
	}
	g.Replace([]networks.Member[named]{{Value: &named{"only"}}})
	for _, host := range []string{"a.example", "127.0.0.1:80", "", "a/b"} {
		if got := g.Of(request(t, host, true, "x", "y")).String(); got != "only" {
			t.Errorf("%q: got %s", host, got)
		}
	}
	if g.ByID(core.NetworkID{}).String() != "only" || g.ByID(core.NetworkID{1}) != nil {
		t.Error("its id does not find it, or another does")
	}
}

func TestRegistry_NetworksCanBeReplacedWhileRequestsCome(t *testing.T) {
	t.Parallel()
	g := twoNetworks()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			g.Replace([]networks.Member[named]{
				{ID: core.NetworkID{1}, Hosts: []string{"a.example"}, Value: &named{"A"}},
			})
		}
	}()
	r := request(t, "a.example", false)
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if got := g.Of(r).String(); got != "A" {
			t.Fatalf("got %s", got)
		}
	}
	if g.Of(request(t, "b.example", false)) != nil {
		t.Error("a network that is gone is still served")
	}
}

func TestRegistry_TheCommonSpellingsOfAHostCostNoAllocation(t *testing.T) {
	g := twoNetworks()
	for _, host := range []string{"a.example", "a.example:8080", "a.example."} {
		r := request(t, host, false)
		if n := testing.AllocsPerRun(100, func() { _ = g.Of(r) }); n > 0 {
			t.Errorf("%s costs %v allocations", host, n)
		}
	}
}

func BenchmarkRegistry(b *testing.B) {
	var members []networks.Member[named]
	for i := range 1000 {
		id := core.NetworkID{byte(i >> 8), byte(i)}
		members = append(members, networks.Member[named]{
			ID: id, Hosts: []string{id.String() + ".example", id.String() + ".internal"}, Value: new(named),
		})
	}
	g := new(networks.Registry[named])
	g.Replace(members)
	host := members[500].Hosts[0]
	for name, spelled := range map[string]string{
		"canonical": host, "with a port": host + ":8080", "in upper case": strings.ToUpper(host),
	} {
		b.Run(name, func(b *testing.B) {
			r := request(b, spelled, false)
			b.ReportAllocs()
			for b.Loop() {
				if g.Of(r) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}
