package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestAttack16_ThePrivateSurfaceOfARealServerIsPrivate asks a private surface in Caddy, as pages, proxies and tools do.
func TestAttack16_ThePrivateSurfaceOfARealServerIsPrivate(t *testing.T) {
	s := newSolo(t)
	s.mustLoad("talos {\nstorage sqlite://FOLDER/talos.db\n}", `http://:PORT {
		bind 127.0.0.1
		talos_admin {
			hosts talos.internal
		}
	}`)
	for _, c := range []struct {
		name   string
		want   int
		header []string // Host first
	}{
		{"a tool", 404, []string{"127.0.0.1"}},
		{"a tool by name", 404, []string{"localhost:4420"}},
		{"a configured name", 404, []string{"talos.internal"}},
		{"a rebound name", 403, []string{"evil.example"}},
		{"a proxy", 403, []string{"127.0.0.1", "X-Forwarded-For", "127.0.0.1"}},
		{"a proxy's other header", 403, []string{"127.0.0.1", "Via", "1.1 proxy"}},
		{"a page", 403, []string{"127.0.0.1", "Origin", "https://evil.example"}},
	} {
		got := s.ask("/v2alpha1/admin/nothing", c.header[0], c.header[1:]...)
		if got.status != c.want || c.want == 403 && got.reason() != "FORBIDDEN" {
			t.Errorf("%s: got %d %s", c.name, got.status, got.body)
		}
	}
}

// TestAttack14_TrustedProxiesOfARealServer has a proxy on this host that Caddy trusts.
func TestAttack14_TrustedProxiesOfARealServer(t *testing.T) {
	s := newSolo(t)
	const admin = "http://:PORT {\nbind 127.0.0.1\ntalos_admin {\nallow 10.1.0.0/16\n}\n}"
	for _, c := range []struct {
		name, strict, forwarded string
		want                    int
	}{
		{"an allowed client", "", "10.1.2.3", 404},
		{"a public address", "", "203.0.113.9", 403},
		{"a public address that claims loopback", "", "127.0.0.1, 203.0.113.9", 403},
		{"an allowed client, strictly", "trusted_proxies_strict", "203.0.113.9, 10.1.2.3", 404},
		{"a public address that claims loopback, strictly", "trusted_proxies_strict", "127.0.0.1, 203.0.113.9", 403},
	} {
		s.mustLoad("servers {\ntrusted_proxies static 127.0.0.1/32\n"+c.strict+"\n}\n"+
			"talos {\nstorage sqlite://FOLDER/talos.db\n}", admin)
		got := s.ask("/v2alpha1/admin/nothing", "127.0.0.1", "X-Forwarded-For", c.forwarded)
		if got.status != c.want {
			t.Errorf("%s: got %d %s", c.name, got.status, got.body)
		}
	}
}

func TestPrivateSurfaceOnAUnixSocket(t *testing.T) {
	s := newSolo(t)
	socket := s.folder + "/talos.sock"
	s.mustLoad("talos {\nstorage sqlite://FOLDER/talos.db\n}", "http://:80 {\nbind unix/"+socket+"\ntalos_admin\n}")
	s.endpoint = "unix://" + socket
	if id, secret := s.issue(); id == "" || !strings.HasPrefix(secret, "ory_ak_v1_") {
		t.Errorf("got %q", id)
	}
}

// ask sends a request to the address with a Host and further headers.
func (s *solo) ask(path, host string, header ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = host
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return exchange(s.t, req)
}
