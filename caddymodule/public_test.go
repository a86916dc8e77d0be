package caddymodule_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
)

// publicSite answers 299 where talos_public lets a request pass.
const publicSite = `http://:PORT {
	bind 127.0.0.1
	talos_public
	respond "passed" 299
}`

// adminSpellings are request targets that some server somewhere takes for a path of the private surface.
var adminSpellings = []string{
	"/v2alpha1/admin", "/v2alpha1/admin/", "/v2alpha1/admin/apiKeys:verify", "/v2alpha1/admin/issuedApiKeys",
	"/V2ALPHA1/Admin/apiKeys:verify", "//v2alpha1/admin/", "/v2alpha1//admin/apiKeys:verify", "///v2alpha1///admin///",
	"/x/../v2alpha1/admin/", "/./v2alpha1/./admin/", "/v2alpha1/x/../admin/", "/../v2alpha1/admin/",
	"/%2e%2e/v2alpha1/admin/", "/x/%2e%2e/v2alpha1/admin/", "/x/%2E./v2alpha1/admin/", "/x/..%2fv2alpha1/admin/",
	"/v2alpha1%2fadmin/", "/v2alpha1%2Fadmin%2FapiKeys:verify", "%2fv2alpha1/admin/", "/%2fv2alpha1/admin/",
	"/v2alpha1/%61dmin/", "/v2alpha1/%2561dmin/", "/v2alpha1/%252561dmin/", "/v2alpha1%252fadmin/",
	"/v2alpha1;v=1/admin/", "/v2alpha1/admin;v=1/apiKeys:verify", "/x/..;/v2alpha1/admin/", "/x/..;a=b/v2alpha1/admin/",
	"/v2alpha1\\admin\\", "/v2alpha1%5cadmin/", "/x/..%5cv2alpha1/admin/", "/v2alpha1/admin%00/", "/v2alpha1/admin%2e/",
	"/v2alpha1/admin?x=/", "/v2alpha1/admin/..;/admin/", "/v2alpha1/admin/%2e", "/v2alpha1/admin%3f",
}

// TestAttack13_NoSpellingOfAnAdminPathPassesThePublicSurface asks with each spelling as it is, in absolute form,
// with other methods and a method override, over HTTP/1.1, and over HTTP/2 in the clear by prior knowledge and by
// upgrade.
func TestAttack13_NoSpellingOfAnAdminPathPassesThePublicSurface(t *testing.T) {
	s := newSolo(t)
	s.mustLoad("servers {\nprotocols h1 h2 h2c\n}\ntalos {\nstorage sqlite://FOLDER/talos.db\n}", publicSite)
	for _, target := range adminSpellings {
		if !strings.HasPrefix(target, "/") {
			target = "http://" + s.addr + target
		}
		for what, lines := range map[string]string{
			"plain":           "GET " + target,
			"POST":            "POST " + target,
			"absolute form":   "GET http://anywhere.example" + strings.TrimPrefix(target, "http://"+s.addr),
			"method override": "POST " + target + " HTTP/1.1\r\nX-HTTP-Method-Override: GET\r\nX-Original-URL: /",
			"upgrade": "GET " + target + " HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA" +
				"\r\nConnection: Upgrade, HTTP2-Settings, close",
		} {
			got := rawAnswer(t, s.addr, lines)
			if got.status != http.StatusNotFound && got.status != http.StatusBadRequest ||
				strings.Contains(got.body, "passed") {
				t.Errorf("%s of %s: got %d %s", what, target, got.status, got.body)
			}
		}
	}
	// HTTP/2 has no request line: the path is a pseudo-header of its own.
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2.CloseIdleConnections)
	for _, target := range adminSpellings {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL = &url.URL{Scheme: "http", Host: s.addr, Opaque: target}
		res, err := h2.RoundTrip(req)
		if err != nil {
			continue // the client or the server would not have it
		}
		closeBody(res)
		if res.ProtoMajor != 2 || res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s over %s: got %d", target, res.Proto, res.StatusCode)
		}
	}
}

func TestAttack13_OtherPathsPassThePublicSurface(t *testing.T) {
	s := newSolo(t)
	s.mustLoad("talos {\nstorage sqlite://FOLDER/talos.db\n}", publicSite)
	for _, target := range []string{
		"/", "/v2alpha1", "/v2alpha1/adm", "/v2alpha1-admin/", "/admin/", "/x/v2alpha1/admin/", "/v2alpha1/apiKeys",
		"/health/alive", "/health/ready", "/?/v2alpha1/admin/",
	} {
		if got := rawAnswer(t, s.addr, "GET "+target); got.status != 299 {
			t.Errorf("%s: got %d", target, got.status)
		}
	}
}

func TestAttack13_TLSConnectionsAreNoWayAround(t *testing.T) {
	s := newSolo(t)
	s.mustLoad("skip_install_trust\ntalos {\nstorage sqlite://FOLDER/talos.db\n}",
		"https://127.0.0.1:PORT {\nbind 127.0.0.1\ntls internal\ntalos_public\nrespond 299\n}")
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // Caddy's own authority
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	for _, target := range adminSpellings {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL = &url.URL{Scheme: "https", Host: s.addr, Opaque: target}
		res, err := transport.RoundTrip(req)
		if err != nil {
			continue
		}
		closeBody(res)
		if res.ProtoMajor != 2 || res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s over %s: got %d", target, res.Proto, res.StatusCode)
		}
	}
}

func TestPublicSurfaceRevokesAndTheGateBelievesItAtOnce(t *testing.T) {
	s := newSolo(t)
	public := freeport.Addr(t)
	s.mustLoad("talos {\nstorage sqlite://FOLDER/talos.db\n}", onlyAdmin+`
		http://:`+portOf(public)+` {
			bind 127.0.0.1
			talos_gate
			talos_public {
				health
			}
			respond "passed"
		}`)
	_, secret := s.issue()
	if got := s.gated(secret); got.status != http.StatusOK {
		t.Fatalf("before: %d", got.status)
	}
	post := func(body string) answer {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			"http://"+public+"/v2alpha1/apiKeys:selfRevoke", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		return exchange(t, req)
	}
	if got := post(`{"credential":"` + secret + `"}`); got.status != http.StatusOK {
		t.Fatalf("selfRevoke: %d %s", got.status, got.body)
	}
	if got := s.gated(secret); got.status != http.StatusUnauthorized {
		t.Errorf("after: %d", got.status)
	}
	for _, path := range []string{"/health/alive", "/health/ready"} {
		if got := rawAnswer(t, public, "GET "+path); got.status != http.StatusOK {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if got := rawAnswer(t, public, "GET /elsewhere"); got.status != http.StatusUnauthorized {
		t.Errorf("the gate let %d pass", got.status)
	}
	// A reload gives nobody new attempts: the failures are counted for the process.
	for range 20 {
		post(`{"credential":"nothing"}`)
	}
	s.mustLoad("talos {\nstorage sqlite://FOLDER/talos.db\n}", publicSite)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://"+s.addr+"/v2alpha1/apiKeys:selfRevoke", strings.NewReader(`{"credential":"nothing"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if got := exchange(t, req); got.status != http.StatusTooManyRequests {
		t.Errorf("after the reload: %d %s", got.status, got.body)
	}
}

// rawAnswer sends a request line, which may bring headers and its own version, over a connection of its own.
func rawAnswer(t *testing.T, addr, lines string) answer {
	t.Helper()
	first, rest, more := strings.Cut(lines, "\r\n")
	if !strings.HasSuffix(first, " HTTP/1.1") {
		first += " HTTP/1.1"
	}
	text := first + "\r\nHost: localhost\r\nContent-Length: 0\r\n"
	if more {
		text += rest + "\r\n"
	}
	if !strings.Contains(text, "Connection: ") {
		text += "Connection: close\r\n"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, text+"\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil) //nolint:bodyclose // readAnswer closes it
	if err != nil {
		t.Fatalf("%s: %v", lines, err)
	}
	return readAnswer(t, res)
}
