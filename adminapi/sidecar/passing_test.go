package sidecar

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

func TestAttack16_OnlyTheCallersOwnAuthorityPasses(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	var mu sync.Mutex
	var seen *http.Request
	var body []byte
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = r
		body, _ = io.ReadAll(r.Body)
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Strict-Transport-Security", "max-age=1")
		h.Set("X-Own", "kept")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "no")
	})
	r := apitest.Request(http.MethodPost, issuedPath+"?a=b&c=%2F", `{"name":"n"}`)
	r.Host = "tenant1.example.com:4420"
	for name, value := range map[string]string{
		"Authorization": "Bearer caller", "Cookie": "session=caller", "X-Any": "1", "Accept-Encoding": "gzip, br",
		"X-Forwarded-For": "192.0.2.66", "X_forwarded_for": "192.0.2.66", "X-Forwarded-Host": "evil",
		"Forwarded": "for=evil", "Via": "1.1 evil", "X-Real-Ip": "192.0.2.66", "True-Client-Ip": "192.0.2.66",
		"X-Http-Method-Override": "DELETE", "Connection": "X-Hop, Upgrade", "X-Hop": "1", "Upgrade": "websocket",
		"Expect": "100-continue", "Te": "trailers",
		"Keep-Alive": "1", "Proxy-Authorization": "Basic hop",
	} {
		r.Header[name] = []string{value}
	}
	w := apitest.Serve(s.admin, r)
	if w.Code != http.StatusForbidden || w.Body.String() != "no" || w.Header().Get("X-Own") != "kept" ||
		w.Header().Get("Access-Control-Allow-Origin")+w.Header().Get("Strict-Transport-Security") != "" {
		t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
	}
	if seen.Method != http.MethodPost || seen.RequestURI != issuedPath+"?a=b&c=%2F" || seen.Host != r.Host ||
		string(body) != `{"name":"n"}` {
		t.Errorf("it got %s %s at %s: %s", seen.Method, seen.RequestURI, seen.Host, body)
	}
	if seen.Header.Get(markHeader) == "" {
		t.Error("the request does not tell that it has passed a sidecar")
	}
	seen.Header.Del(markHeader)
	want := map[string]string{
		"Authorization": "Bearer caller", "Cookie": "session=caller", "X-Any": "1", "Content-Type": "application/json",
		"Accept-Encoding": "identity", "Content-Length": "12", "X-Forwarded-For": "192.0.2.7", "Talos-Edge": "1",
	}
	for name, values := range seen.Header {
		if values[0] != want[name] || len(values) != 1 {
			t.Errorf("it got %s: %q, want %q", name, values, want[name])
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("it did not get %v", want)
	}
	for _, local := range []string{"127.0.0.1", "::1", ""} {
		addr, _ := netip.ParseAddr(local)
		s.from(addr)
		apitest.Serve(s.admin, apitest.Request(http.MethodGet, issuedPath, ""))
		if got := seen.Header["X-Forwarded-For"]; got != nil {
			t.Errorf("a caller on this machine (%q) is forwarded as %q", local, got)
		}
	}
}

func TestAttack13_ASecondSpellingOrAnUnknownChangeDoesNotPass(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	s.answers(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s passed", r.Method, r.RequestURI) })
	const id = unknownUUID
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/v2alpha1/admin/apiKeys/%30" + id[1:] + ":revoke", 404},
		{"POST", "/v2alpha1/admin/apiKeys/" + id + "%3Arevoke", 404},
		{"POST", "/v2alpha1/admin//apiKeys/" + id + ":revoke", 404},
		{"POST", "/v2alpha1/admin/x/../apiKeys/" + id + ":revoke", 404},
		{"POST", "/v2alpha1/admin/apiKeys;x/" + id + ":revoke", 404},
		{"POST", "/v2alpha1/ADMIN/apiKeys/" + id + ":revoke", 404},
		{"POST", "/v2alpha1/admin/APIKEYS/" + id + ":revoke", 404},
		{"POST", "/v2alpha1/admin/apiKeys/" + id + `\:revoke`, 404},
		{"POST", "/v2alpha1/admin/apiKeys/urn:uuid:" + id + ":revoke/../x", 404},
		{"POST", "/v2alpha1/admin/apiKeys:revokeAll", 404},
		{"POST", "/v2alpha1/admin/networks", 404},
		{"DELETE", "/v2alpha1/admin/issuedApiKeys", 405},
		{"POST", "/v2alpha1/derivedKeys/jwks.json", 405},
		{"DELETE", "/v2alpha1/admin/issuedApiKeys/", 404},
		{"GET", "/v2alpha1/admin", 404},
		{"GET", "/v2alpha1/other", 404},
		{"GET", "/x", 404},
		{"PUT", "/v2alpha1/admin/issuedApiKeys/" + id, 405},
		{"OPTIONS", "/v2alpha1/admin/issuedApiKeys", 405},
		{"TRACE", "/v2alpha1/admin/issuedApiKeys", 405},
		{"CONNECT", "/v2alpha1/admin/issuedApiKeys", 405},
	} {
		if w := apitest.Serve(s.admin, apitest.Request(tc.method, tc.path, "")); w.Code != tc.status {
			t.Errorf("%s %s: %d, want %d", tc.method, tc.path, w.Code, tc.status)
		}
	}
	simple := httptest.NewRequest(http.MethodPost, issuedPath, strings.NewReader(`{"name":"n","actor_id":"a"}`))
	simple.Header.Set("Content-Type", "text/plain") // as a page of any origin may send it
	apitest.WantError(t, apitest.Serve(s.admin, simple), http.StatusBadRequest, core.BadRequest)
	long := `{"name":"` + strings.Repeat("x", maxBody) + `"}`
	apitest.WantError(t, apitest.Post(s.admin, issuedPath, long), http.StatusRequestEntityTooLarge, core.BadRequest)
	apitest.WantError(t, apitest.Post(s.admin, importedPath, `{"raw_key":"a","raw_key":"b"}`),
		http.StatusBadRequest, core.BadRequest)
}

// Of several networks the upstream finds the same one as the sidecar, however that has found it.
func TestAttack02_WhatPassesGoesToTheHostOfItsNetwork(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	s.host = "tenant1.internal"
	var host string
	s.answers(func(w http.ResponseWriter, r *http.Request) { host = r.Host; _, _ = io.WriteString(w, "{}") })
	r := apitest.Request(http.MethodPost, issuedPath, "{}")
	r.Host = "tenant2.internal"
	r.Header.Set("X-Forwarded-Host", "tenant2.internal")
	if w := apitest.Serve(s.admin, r); w.Code != http.StatusOK || host != "tenant1.internal" {
		t.Errorf("%d %s, sent to %s", w.Code, w.Body, host)
	}
}
