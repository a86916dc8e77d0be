package caddymodule_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/httpcred/headername"
	"github.com/talos-edge/talos-edge/core/engine"
)

// aliasing is a configuration that lets names with `_` and `.` pass, which Caddy drops by default.
const aliasing = "servers {\nprotocols h1 h2c\nexpected_underscore_headers X_*\nexpected_dot_headers X.*\n}"

func TestAttack09_ForgedIdentityHeadersDoNotSurvive(t *testing.T) {
	e := startEdge(t, edgeConfig{Global: aliasing, Site: `
		talos_gate /optional/* {
			optional
		}
		talos_gate /off/* {
			optional
			identity off
		}
		talos_gate /gated/*
		reverse_proxy BACKEND`})
	id, key := e.issue(engine.IssueRequest{ActorID: "someone"})
	const forged = "X-Talos-Actor: root\nx-talos-actor: root\nX-TALOS-Key-Id: forged\nX-Talos-Scopes: admin\n" +
		"X-Talos-Metadata: e30\nX-Talos-Tomorrow: x\nX_Talos_Actor: root\nx_talos_key_id: forged\n" +
		"X.Talos.Actor: root\n" +
		"X_Talos.Actor: root\nX_TALOS_SCOPES: admin\n"
	for name, tc := range map[string]struct {
		path, credential string
		want             map[string]string
	}{
		"gated": {"/gated/", key, map[string]string{"X-Talos-Key-Id": id, "X-Talos-Actor": "someone"}},
		"optional, with a key": {
			"/optional/", key,
			map[string]string{"X-Talos-Key-Id": id, "X-Talos-Actor": "someone"},
		},
		"optional, without one": {"/optional/", "", nil},
		"identity off":          {"/off/", key, nil},
	} {
		t.Run(name, func(t *testing.T) {
			line := ""
			if tc.credential != "" {
				line = "Authorization: Bearer " + tc.credential + "\n"
			}
			got := e.raw("GET " + tc.path + " HTTP/1.1\nHost: x\nConnection: close\n" + forged + line + "\n")
			if got.status != http.StatusOK {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
			header := got.seen(t).Header
			for field, values := range header {
				if !headername.FoldedPrefix(field, "X-Talos-") {
					continue
				}
				want, ok := tc.want[field]
				if !ok || !slices.Equal(values, []string{want}) {
					t.Errorf("the app got %s: %q", field, values)
				}
			}
			for field := range tc.want {
				if header.Get(field) == "" {
					t.Errorf("the app got no %s", field)
				}
			}
		})
	}
}

func TestAttack09_ConnectionCannotMakeTheProxyDropTheIdentity(t *testing.T) {
	e := startEdge(t, edgeConfig{})
	id, key := e.issue(engine.IssueRequest{})
	for _, connection := range []string{
		"Connection: close, X-Talos-Actor, x-talos-key-id",
		"Connection: close\nConnection: X-Talos-Key-Id\nConnection:X-TALOS-ACTOR",
		"Connection: X-Talos-Actor,X-Talos-Key-Id,close", "Connection: close , , \tX-Talos-Actor\t, X-Talos-Key-Id",
	} {
		got := e.raw("GET / HTTP/1.1\nHost: x\n" + connection + "\nAuthorization: Bearer " + key + "\n\n")
		if got.status != http.StatusOK {
			t.Fatalf("%q: status %d", connection, got.status)
		}
		if h := got.seen(t).Header; h.Get("X-Talos-Actor") != "someone" || h.Get("X-Talos-Key-Id") != id {
			t.Errorf("%q: the app got %v", connection, h)
		}
	}
}

func TestAttack09_TrailersBringNoIdentity(t *testing.T) {
	e := startEdge(t, edgeConfig{
		Site: gatedProxy("optional", "from header Authorization Bearer", "from header X-Api-Key"),
	})
	const forged = "X-Talos-Actor: root\nx_talos_actor: root\nX-Api-Key: SECRET\nAuthorization: Bearer SECRET\n" +
		"X-Checksum: 42\n"
	for name, announce := range map[string]string{
		"announced":                  "Trailer: X-Talos-Actor, X-Api-Key, X-Checksum\n",
		"announced, in another case": "Trailer: x-talos-actor\nTrailer: x-checksum\n",
		"one announced":              "Trailer: X-Checksum\n",
		"only forged ones announced": "Trailer: X-Talos-Actor\n",
		"not announced":              "",
	} {
		t.Run(name, func(t *testing.T) {
			got := e.raw("POST / HTTP/1.1\nHost: x\nConnection: close\nTe: trailers\nTransfer-Encoding: chunked\n" +
				announce + "\n4\nbody\n0\n" + forged + "\n")
			if got.status != http.StatusOK {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
			s := got.seen(t)
			if s.Body != "body" || strings.Contains(got.body, "root") || strings.Contains(got.body, "SECRET") {
				t.Errorf("the app got %s", got.body)
			}
			if strings.Contains(strings.ToLower(announce), "x-checksum") && s.Trailer.Get("X-Checksum") != "42" {
				t.Errorf("an honest trailer is gone: %v", s.Trailer)
			}
		})
	}
}

func TestAttack09_HTTP2BringsNoIdentity(t *testing.T) {
	e := startEdge(t, edgeConfig{Global: aliasing})
	id, key := e.issue(engine.IssueRequest{})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
	defer transport.CloseIdleConnections()
	e.client = &http.Client{Transport: transport, Timeout: 20 * time.Second}

	body := io.MultiReader(strings.NewReader("body")) // of unknown length, so that trailers can follow
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.addr+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{
		"Authorization": {"Bearer " + key}, "x-talos-actor": {"root"}, "X_talos_actor": {"root"},
		"X.Talos.Key.Id": {"forged"},
	}
	req.Trailer = http.Header{"X-Talos-Actor": {"root"}, "X-Checksum": {"42"}}
	res, err := e.client.Do(req) //nolint:bodyclose // readAnswer closes it
	if err != nil {
		t.Fatal(err)
	}
	got := readAnswer(t, res)
	if res.ProtoMajor != 2 || got.status != http.StatusOK {
		t.Fatalf("HTTP/%d, status %d: %s", res.ProtoMajor, got.status, got.body)
	}
	s := got.seen(t)
	if strings.Contains(got.body, "root") || strings.Contains(got.body, "forged") ||
		s.Header.Get("X-Talos-Key-Id") != id {
		t.Errorf("the app got %s", got.body)
	}
	if s.Trailer.Get("X-Checksum") != "42" {
		t.Errorf("an honest trailer is gone: %v", s.Trailer)
	}
	got = e.get("/", "Authorization", "Bearer "+key, "authorization", "Bearer "+key)
	if got.status != http.StatusBadRequest {
		t.Errorf("two lines: %d", got.status)
	}
}

func TestAttack10_TwoCredentialsAreRefusedAndNeverFirstWins(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: gatedProxy("from header Authorization Bearer", "from header X-Api-Key",
		"from query api_key", "from cookie key", "optional")})
	_, good := e.issue(engine.IssueRequest{})
	lines := map[string]string{
		"header": "Authorization: Bearer %s\n", "other case": "AUTHORIZATION: BEARER %s\n",
		"api key": "X-Api-Key: %s\n",
		"cookie":  "Cookie: key=%s\n", "second cookie": "Cookie: a=b; key=%s\n",
	}
	before := e.backend.requests()
	for _, other := range []string{good, "bad", ""} {
		for firstName, first := range lines {
			for secondName, second := range lines {
				for _, pair := range [][2]string{{good, other}, {other, good}} {
					got := e.raw("GET / HTTP/1.1\nHost: x\nConnection: close\n" +
						fmt.Sprintf(first, pair[0]) + fmt.Sprintf(second, pair[1]) + "\n")
					if got.status != http.StatusBadRequest {
						t.Errorf("%s and %s: %d", firstName, secondName, got.status)
					}
				}
			}
			for _, target := range []string{
				"/?api_key=" + other, "/?api_key", "/?api%5Fkey=" + other, "/?a=b&api_key=&api_key=" + other,
			} {
				got := e.raw("GET " + target + " HTTP/1.1\nHost: x\nConnection: close\n" +
					fmt.Sprintf(first, good) + "\n")
				if got.status != http.StatusBadRequest {
					t.Errorf("%s and the query: %d", firstName, got.status)
				}
			}
		}
		got := e.raw("GET / HTTP/1.1\nHost: x\nConnection: close\nAuthorization: Bearer " +
			good + ", Bearer " + other + "\n\n")
		if got.status != http.StatusBadRequest {
			t.Errorf("a joined list: %d", got.status)
		}
	}
	if n := e.backend.requests() - before; n != 0 {
		t.Errorf("the app was asked %d times", n)
	}
}

func TestAttack11_ValuesOfAKeyForgeNoHeaders(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: `
		talos_gate
		reverse_proxy BACKEND {
			header_up X-Who {http.auth.user.actor}
			header_up X-Plan {http.auth.user.metadata.plan}
		}`})
	_, key := e.issue(engine.IssueRequest{
		ActorID:  "a\r\nX-Talos-Scopes: admin, b\x7fé{http.request.header.X-Evil}",
		Metadata: []byte(`{"plan":"{env.PATH} {http.request.header.X-Evil}","more":"\r\nX-Talos-Actor: root"}`),
	})
	got := e.get("/", "Authorization", "Bearer "+key, "X-Evil", "evil")
	if got.status != http.StatusOK {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	s := got.seen(t)
	const actor = "a%0D%0AX-Talos-Scopes: admin%2C b%7F%C3%A9{http.request.header.X-Evil}"
	if s.Header.Get("X-Talos-Actor") != actor || s.Header.Get("X-Who") != actor {
		t.Errorf("actor %q, %q", s.Header.Get("X-Talos-Actor"), s.Header.Get("X-Who"))
	}
	if s.Header.Get("X-Talos-Scopes") != "" || s.Header.Get("X-Plan") != "{env.PATH} {http.request.header.X-Evil}" {
		t.Errorf("the app got %v", s.Header)
	}

	_, key = e.issue(engine.IssueRequest{Metadata: []byte(`{"plan":"x\r\nX-Talos-Actor: root"}`)})
	if got = e.get("/", "Authorization", "Bearer "+key); got.status == http.StatusOK {
		if s := got.seen(t); s.Header.Get("X-Talos-Actor") != "someone" {
			t.Errorf("a placeholder forged a header: %v", s.Header)
		}
	}
}

func TestAttack12_OddCredentialsAreRefusedAtTheDoor(t *testing.T) {
	e := startEdge(t, edgeConfig{
		Global: "servers {\nmax_header_size 2MiB\n}",
		Site:   gatedProxy("from header Authorization Bearer", "from query api_key"),
	})
	_, key := e.issue(engine.IssueRequest{})
	before := e.node().Verifier().Stats()
	for name, request := range map[string]string{
		"over 16 KiB":              "GET / HTTP/1.1\nAuthorization: Bearer " + strings.Repeat("a", 16<<10+1),
		"half a megabyte":          "GET / HTTP/1.1\nAuthorization: Bearer " + strings.Repeat("a", 512<<10),
		"invalid UTF-8":            "GET / HTTP/1.1\nAuthorization: Bearer a\xff\xfe",
		"NUL":                      "GET /?api_key=" + key + "%00 HTTP/1.1",
		"invalid UTF-8 in a query": "GET /?api_key=%ff HTTP/1.1",
	} {
		got := e.raw(request + "\nHost: x\nConnection: close\n\n")
		if got.status != http.StatusUnauthorized || got.reason() != "UNKNOWN_CREDENTIAL" {
			t.Errorf("%s: %d %s", name, got.status, got.reason())
		}
	}
	got := e.raw("GET / HTTP/1.1\nHost: x\nConnection: close\nAuthorization: Bearer a\x00b\n\n")
	if got.status != http.StatusBadRequest {
		t.Errorf("NUL in a header: %d", got.status)
	}
	if after := e.node().Verifier().Stats(); after.Requests != before.Requests {
		t.Error("an odd credential got as far as the verifier")
	}
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, "X-Talos-%d: forged\n", i)
	}
	got = e.raw("GET / HTTP/1.1\nHost: x\nConnection: close\nAuthorization: Bearer " +
		key + "\n" + many.String() + "\n")
	if got.status != http.StatusOK || strings.Contains(got.body, "forged") {
		t.Errorf("10,000 headers: %d", got.status)
	}
}
