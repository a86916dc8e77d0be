package caddymodule_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/core/engine"
)

// trusting are the global options of an edge that trusts proxies on loopback and in 10.0.0.0/8.
func trusting(options ...string) string {
	return "servers {\ntrusted_proxies static 127.0.0.0/8 10.0.0.0/8\n" + strings.Join(options, "\n") + "\n}"
}

// A client may write any address into the header that its proxy appends to. Caddy takes the leftmost address unless
// trusted_proxies_strict is set; a key's IP list must not depend on that.
func TestAttack14_AnAddressThatTheClientWroteIsNotJudged(t *testing.T) {
	e := startEdge(t, edgeConfig{Global: trusting()})
	_, key := e.issue(engine.IssueRequest{AllowedCIDRs: cidrs(t, "203.0.113.0/24")})
	many := "203.0.113.7" + strings.Repeat(", 10.0.0.2", 40)
	for _, options := range [][]string{nil, {"trusted_proxies_strict"}} {
		e.load(edgeConfig{Global: trusting(options...)})
		for _, tc := range []struct {
			lines []string
			want  int
		}{
			{nil, 403}, // the proxy itself
			{[]string{""}, 403},
			{[]string{"203.0.113.7"}, 200},
			{[]string{"198.51.100.1"}, 403},
			{[]string{"203.0.113.7, 198.51.100.1"}, 403},
			{[]string{"203.0.113.7", "198.51.100.1"}, 403},
			{[]string{"198.51.100.1, 203.0.113.7"}, 200},
			{[]string{"203.0.113.7, 198.51.100.1, 10.0.0.2"}, 403},
			{[]string{"198.51.100.1, 203.0.113.7, 10.0.0.2, 10.0.0.3"}, 200},
			{[]string{"203.0.113.7, ::ffff:10.0.0.2"}, 200},
			{[]string{"::ffff:203.0.113.7"}, 200},
			{[]string{"203.0.113.7:443"}, 200},
			{[]string{"10.0.0.4, 10.0.0.2"}, 403},
			{[]string{"203.0.113.7, unknown"}, 403},
			{[]string{"203.0.113.7, unix:"}, 403},
			{[]string{"203.0.113.7, "}, 403},
			{[]string{"203.0.113.7", ""}, 403},
			{[]string{many}, 403},
		} {
			header := []string{"Authorization", "Bearer " + key}
			for _, line := range tc.lines {
				header = append(header, "X-Forwarded-For", line)
			}
			if got := e.get("/", header...); got.status != tc.want {
				t.Errorf("%q, X-Forwarded-For %.80q: %d, want %d", options, tc.lines, got.status, tc.want)
			}
		}
	}
}

// A proxy may name the client in a header of its own, which it sets or appends to.
func TestAttack14_OtherClientAddressHeadersAreReadFromTheRight(t *testing.T) {
	e := startEdge(t, edgeConfig{Global: trusting("client_ip_headers CF-Connecting-IP X-Forwarded-For")})
	_, key := e.issue(engine.IssueRequest{AllowedCIDRs: cidrs(t, "203.0.113.0/24")})
	for _, tc := range []struct {
		cf, xff string
		want    int
	}{
		{"203.0.113.7", "", 200},
		{"198.51.100.1", "203.0.113.7", 403},
		{"203.0.113.7, 198.51.100.1", "", 403},
		{"unknown", "203.0.113.7", 403},
		{"", "203.0.113.7, 198.51.100.1", 403},
		{"", "203.0.113.7", 200},
	} {
		header := []string{"Authorization", "Bearer " + key}
		if tc.cf != "" {
			header = append(header, "Cf-Connecting-Ip", tc.cf)
		}
		if tc.xff != "" {
			header = append(header, "X-Forwarded-For", tc.xff)
		}
		if got := e.get("/", header...); got.status != tc.want {
			t.Errorf("CF-Connecting-IP %q, X-Forwarded-For %q: %d, want %d", tc.cf, tc.xff, got.status, tc.want)
		}
	}
}

// What the proxy said can be gone by the time of the gate. The client is then unknown, and not the proxy.
func TestAttack14_ARemovedHeaderLendsNoProxysAddress(t *testing.T) {
	e := startEdge(t, edgeConfig{Global: trusting(), Site: `
		route {
			request_header /without/* -X-Forwarded-For
			talos_gate
			reverse_proxy BACKEND
		}`})
	_, key := e.issue(engine.IssueRequest{AllowedCIDRs: cidrs(t, "127.0.0.0/8")})
	for path, want := range map[string]int{"/": 200, "/without/": 200} {
		if got := e.get(path, "Authorization", "Bearer "+key); got.status != want {
			t.Errorf("%s for the proxy itself: %d, want %d", path, got.status, want)
		}
	}
	for path, want := range map[string]int{"/": 403, "/without/": 403} {
		got := e.get(path, "Authorization", "Bearer "+key, "X-Forwarded-For", "198.51.100.1")
		if got.status != want {
			t.Errorf("%s for a public address: %d, want %d", path, got.status, want)
		}
	}
}

// A process chooses the name of its end of a unix socket, and may choose one that reads like an address.
func TestAttack14_TheNameOfASocketIsNoAddress(t *testing.T) {
	e := startEdge(t, edgeConfig{
		Global: trusting(),
		Sites:  "http://:80 {\nbind unix/FOLDER/gate.sock\ntalos_gate\nrespond hello\n}",
	})
	_, limited := e.issue(engine.IssueRequest{AllowedCIDRs: cidrs(t, "203.0.113.0/24")})
	_, anywhere := e.issue(engine.IssueRequest{})
	t.Chdir(e.folder)
	for _, tc := range []struct {
		name, key string
		want      int
	}{
		{"203.0.113.7:80", limited, 403},
		{"10.0.0.1:80", limited, 403}, // a trusted proxy's
		{"203.0.113.7:81", anywhere, 200},
	} {
		dialer := net.Dialer{LocalAddr: &net.UnixAddr{Net: "unix", Name: tc.name}}
		client := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", "gate.sock")
			},
		}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+tc.key)
		req.Header.Set("X-Forwarded-For", "203.0.113.7")
		res, err := client.Do(req) //nolint:bodyclose // readAnswer closes it
		if err != nil {
			t.Fatal(err)
		}
		if got := readAnswer(t, res); got.status != tc.want {
			t.Errorf("a socket named %s: %d, want %d", tc.name, got.status, tc.want)
		}
	}
}

// The private surface judges the same address: as a caller, and as the address that a key is verified for.
func TestAttack14_ThePrivateSurfaceJudgesTheSameAddress(t *testing.T) {
	surface := freeport.Addr(t)
	_, port, _ := strings.Cut(surface, ":")
	e := startEdge(t, edgeConfig{Global: trusting(), Sites: fmt.Sprintf(
		"http://:%s {\nbind 127.0.0.1\ntalos_admin {\nallow 198.51.100.0/24 203.0.113.0/24 10.1.0.0/16\n}\n}", port)})
	_, key := e.issue(engine.IssueRequest{AllowedCIDRs: cidrs(t, "203.0.113.0/24")})
	verify := func(forwardedFor string) answer {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			"http://"+surface+"/v2alpha1/admin/apiKeys:verify", strings.NewReader(`{"credential":"`+key+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Forwarded-For", forwardedFor)
		res, err := e.client.Do(req) //nolint:bodyclose // readAnswer closes it
		if err != nil {
			t.Fatal(err)
		}
		return readAnswer(t, res)
	}
	for forwardedFor, want := range map[string]struct {
		status int
		body   string
	}{
		"203.0.113.7":               {200, `"is_valid":true`},
		"203.0.113.7, 198.51.100.1": {200, "IP_NOT_ALLOWED"},
		"192.0.2.1, 203.0.113.7":    {200, `"is_valid":true`},
		"203.0.113.7, 192.0.2.1":    {403, ""},
		"203.0.113.7, 10.1.0.2":     {200, `"is_valid":true`},
		"203.0.113.7, 10.2.0.2":     {403, ""}, // a trusted proxy that may not call
		"10.2.0.2":                  {403, ""},
		"10.1.0.2, 10.2.0.2":        {403, ""},
	} {
		got := verify(forwardedFor)
		if got.status != want.status || !strings.Contains(strings.ReplaceAll(got.body, " ", ""), want.body) {
			t.Errorf("for %q: %d %s, want %d and %s", forwardedFor, got.status, got.body, want.status, want.body)
		}
	}
}
