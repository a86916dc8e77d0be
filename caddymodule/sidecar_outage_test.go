package caddymodule_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAnEdgeOutlivesItsUpstream(t *testing.T) {
	far := newFarNode(t)
	s := startSidecar(t, far.url(), "timeout 500ms", "ttl 1s\nnegative_ttl 1s\nstale_if_error 2s")
	id, known := s.issue()
	revokedID, revoked := s.issue()
	_, unseen := s.issue()
	for _, secret := range []string{known, revoked} {
		if got := s.gated(secret); got.status != http.StatusOK {
			t.Fatalf("a good key: %d %s", got.status, got.body)
		}
	}
	s.call("POST", s.addr, "/v2alpha1/admin/apiKeys/"+revokedID+":revoke", "{}")
	if got := s.gated(revoked); got.status != http.StatusUnauthorized {
		t.Fatalf("a revoked key: %d %s", got.status, got.body)
	}
	s.gated(known)
	far.kill()
	killed := time.Now()
	unavailable := func(what string, got answer) {
		t.Helper()
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v %s", what, got.status, got.header, got.body)
		}
	}
	unavailable("a key that was never seen", s.gated(unseen))
	stale := 0
	until(t, "the stale window is over", func() bool {
		got := s.gated(known)
		switch {
		case got.status == http.StatusOK && got.body == id:
			stale++
			return false
		case got.status != http.StatusServiceUnavailable:
			t.Fatalf("a known key: %d %s", got.status, got.body)
		}
		if got := s.gated(revoked); got.status == http.StatusOK {
			t.Fatalf("a revoked key is admitted: %s", got.body)
		}
		return true
	})
	if lasted := time.Since(killed); lasted < 1900*time.Millisecond || stale == 0 {
		t.Errorf("the known key was admitted %d times and for %s only", stale, lasted)
	}
	unavailable("a known key, later", s.gated(known))
	unavailable("a revoked key, later", s.gated(revoked))
	unavailable("self-revocation", s.call("POST", s.public, selfRevokePath, `{"credential":"`+known+`"}`,
		"X-Forwarded-For", "198.51.100.3"))
	unavailable("managing keys", s.call("GET", s.addr, "/v2alpha1/admin/issuedApiKeys/"+id, ""))
	unavailable("readiness", s.call("GET", s.public, "/health/ready", ""))
	if got := s.call("GET", s.public, "/health/alive", ""); got.status != http.StatusOK {
		t.Errorf("alive: %d", got.status)
	}
	far.start()
	until(t, "everything is as before", func() bool {
		return s.gated(known).status == http.StatusOK && s.gated(unseen).status == http.StatusOK &&
			s.gated(revoked).status == http.StatusUnauthorized &&
			s.call("GET", s.public, "/health/ready", "").status == http.StatusOK
	})
}

func TestAnUpstreamThatRefusesTheSidecarIsUnavailable(t *testing.T) {
	api := &plainAPI{}
	far := newFarServer(t, api)
	s := startSidecar(t, far.url(), `header Authorization "`+sidecarToken+`"`, "ttl 1s\nstale_if_error 10m")
	api.add("key")
	if got := s.gated("key"); got.status != http.StatusOK {
		t.Fatalf("a good key: %d %s", got.status, got.body)
	}
	for _, status := range []int{401, 403, 404} {
		far.answers(func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			return true
		})
		until(t, "the key is unavailable", func() bool {
			got := s.gated("key")
			if got.status != http.StatusOK && got.status != http.StatusServiceUnavailable {
				t.Fatalf("an upstream's own %d makes %d %s", status, got.status, got.body)
			}
			return got.status == http.StatusServiceUnavailable
		})
		if got := s.gated("unknown"); got.status != http.StatusServiceUnavailable {
			t.Errorf("an upstream's own %d makes %d of an unknown key", status, got.status)
		}
		far.answers(nil)
		until(t, "the key is good again", func() bool { return s.gated("key").status == http.StatusOK })
	}
}

func TestASecondAddressTakesOverAndBack(t *testing.T) {
	api := &plainAPI{}
	first, second := newFarServer(t, api), newFarServer(t, api)
	s := startSidecar(t, first.url()+" "+second.url(),
		`header Authorization "`+sidecarToken+`"`,
		"ttl 1s\nstale_if_error 0")
	for _, f := range []*farServer{first, second} {
		f.kill()
		key := "key-" + portOf(f.addr)
		revoke := "/v2alpha1/admin/importedApiKeys/" + api.add(key) + ":revoke"
		for i := range 20 { // no caller sees that an address is gone
			if got := s.gated(key); got.status != http.StatusOK {
				t.Fatalf("request %d: %d %s", i, got.status, got.body)
			}
			if got := s.gated(fmt.Sprintf("unknown-%s-%d", portOf(f.addr), i)); got.status != http.StatusUnauthorized {
				t.Fatalf("request %d: %d %s", i, got.status, got.body)
			}
		}
		if got := s.call("POST", s.addr, revoke, "{}", "Authorization", "Bearer an-operators"); got.status != 200 {
			t.Errorf("revoking: %d %s", got.status, got.body)
		}
		if got := s.gated(key); got.status != http.StatusUnauthorized {
			t.Errorf("after it: %d %s", got.status, got.body)
		}
		f.start()
	}
}

func TestAttack05_AnAddressThatIsBehindBringsNoRevokedKeyBack(t *testing.T) {
	far := newFarNode(t)
	behind := newFarServer(t, far.handler)
	s := startSidecar(t, far.url()+" "+behind.url(), "", "")
	for how, revoke := range map[string]func(id, secret string) answer{
		"an operator": func(id, _ string) answer {
			return s.call("POST", s.addr, "/v2alpha1/admin/issuedApiKeys/"+id+":revoke", "{}")
		},
		"its holder": func(_, secret string) answer {
			return s.call("POST", s.public, selfRevokePath, `{"credential":"`+secret+`"}`)
		},
	} {
		id, secret := s.issue()
		s.gated(secret)
		var stale *httptest.ResponseRecorder // what the second address goes on saying
		behind.answers(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "batchVerify") {
				return false
			}
			maps.Copy(w.Header(), stale.Header())
			_, _ = w.Write(stale.Body.Bytes())
			return true
		})
		stale = httptest.NewRecorder()
		ask := httptest.NewRequest(http.MethodPost, batchPath,
			strings.NewReader(`{"requests":[{"credential":"`+secret+`"}]}`))
		ask.Header = http.Header{"Content-Type": {"application/json"}, "Talos-Edge": {"1"}}
		far.handler.ServeHTTP(stale, ask)
		if got := revoke(id, secret); got.status != http.StatusOK {
			t.Fatalf("%s: %d %s", how, got.status, got.body)
		}
		far.kill()
		for range 3 {
			if got := s.gated(secret); got.status != http.StatusServiceUnavailable {
				t.Errorf("%s revoked it, and an address is asked that does not know of it: %d %s",
					how, got.status, got.body)
			}
		}
		behind.answers(nil) // it has caught up
		until(t, "the key is refused", func() bool { return s.gated(secret).status == http.StatusUnauthorized })
		far.start()
	}
}
