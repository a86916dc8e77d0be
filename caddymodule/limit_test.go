package caddymodule_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/caddymodule/internal/pool"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/verify"
)

// thrice is a limit of three uses a minute.
var thrice = core.RateLimitPolicy{Quota: 3, Window: time.Minute}

func TestAttack01_AKeyIsGoodForAsManyRequestsAsItsLimitAllows(t *testing.T) {
	e := startEdge(t, edgeConfig{})
	_, key := e.issue(engine.IssueRequest{RateLimit: thrice})
	_, other := e.issue(engine.IssueRequest{RateLimit: thrice})
	_, free := e.issue(engine.IssueRequest{})
	before := decisions(t, "refused", "rate_limited")
	for range 3 { // a miss, then hits
		if got := e.get("/", "Authorization", "Bearer "+key); got.status != http.StatusOK ||
			got.header.Get("Ratelimit") != "" {
			t.Fatalf("within the limit: %d %v", got.status, got.header)
		}
	}
	for range 3 {
		asked := e.backend.requests()
		got := e.get("/", "Authorization", "Bearer "+key)
		if got.status != http.StatusTooManyRequests || got.reason() != "TOO_MANY_REQUESTS" ||
			e.backend.requests() != asked {
			t.Fatalf("beyond the limit: %d %s", got.status, got.body)
		}
		for name, want := range map[string]string{
			"RateLimit": `"default";r=0`, "RateLimit-Policy": `"default";q=3;w=60`, "Cache-Control": "no-store",
			"Vary": "Authorization", "Www-Authenticate": "",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s: %s, want %s", name, got.header.Get(name), want)
			}
		}
		if wait, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || wait < 1 || wait > 20 {
			t.Errorf("Retry-After: %s, want up to 20", got.header.Get("Retry-After"))
		}
	}
	if n := decisions(t, "refused", "rate_limited") - before; n != 3 {
		t.Errorf("%d refusals were counted, want 3", n)
	}
	for range 5 {
		if got := e.get("/", "Authorization", "Bearer "+free); got.status != http.StatusOK {
			t.Errorf("a key without a limit: %d", got.status)
		}
	}
	if got := e.get("/", "Authorization", "Bearer "+other); got.status != http.StatusOK {
		t.Errorf("another key: %d", got.status)
	}
}

func TestGate_TheTokensOfAKeyShareItsLimit(t *testing.T) {
	e := startEdge(t, edgeConfig{})
	_, key := e.issue(engine.IssueRequest{RateLimit: thrice})
	jwt := e.derive(engine.DeriveRequest{Credential: key})
	macaroon := e.derive(engine.DeriveRequest{Credential: key, Algorithm: engine.AlgorithmMacaroon})
	for _, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
		for _, credential := range []string{key, jwt, macaroon} {
			if got := e.get("/", "Authorization", "Bearer "+credential); got.status != want {
				t.Errorf("%.12s: %d, want %d", credential, got.status, want)
			}
		}
	}
}

func TestGate_OnlyARequestThatWouldPassIsCountedAndOnlyOnce(t *testing.T) {
	e := startEdge(t, edgeConfig{
		Global: "servers {\ntrusted_proxies static 127.0.0.0/8\n}",
		Site: `
			talos_gate /scoped/* {
				scopes admin
			}
			route /twice/* {
				talos_gate
				talos_gate
				talos_gate {
					identity X-Again-
				}
			}
			talos_gate /plain/*
			reverse_proxy BACKEND`,
	})
	_, key := e.issue(engine.IssueRequest{RateLimit: thrice, AllowedCIDRs: cidrs(t, "203.0.113.0/24")})
	near := []string{"Authorization", "Bearer " + key, "X-Forwarded-For", "203.0.113.7"}
	far := []string{"Authorization", "Bearer " + key, "X-Forwarded-For", "198.51.100.7"}
	for range 5 {
		if got := e.get("/scoped/", near...); got.status != http.StatusForbidden {
			t.Fatalf("where a scope is missing: %d", got.status)
		}
		if got := e.get("/plain/", far...); got.status != http.StatusForbidden {
			t.Fatalf("from an address off the list: %d", got.status)
		}
		got := e.get("/plain/", append(near, "Authorization", "Bearer "+key)...)
		if got.status != http.StatusBadRequest {
			t.Fatalf("with two credentials: %d", got.status)
		}
	}
	for i, want := range []int{200, 200, 200, 429} {
		if got := e.get("/twice/", near...); got.status != want {
			t.Fatalf("request %d through three gates: %d, want %d", i, got.status, want)
		}
	}
	if got := e.get("/plain/", far...); got.status != http.StatusForbidden {
		t.Errorf("what is refused anyway is told so: %d", got.status)
	}
}

func TestGate_ErrorRoutesShowTheLimitToo(t *testing.T) {
	e := startEdge(t, edgeConfig{
		Site: "talos_gate\nrespond ok\nhandle_errors {\nrespond \"{err.status_code} slow down\"\n}",
	})
	_, key := e.issue(engine.IssueRequest{RateLimit: core.RateLimitPolicy{Quota: 1, Window: time.Hour}})
	e.get("/", "Authorization", "Bearer "+key)
	got := e.get("/", "Authorization", "Bearer "+key)
	if got.status != http.StatusTooManyRequests || got.body != "429 slow down" ||
		got.header.Get("Ratelimit-Policy") != `"default";q=1;w=3600` || got.header.Get("Retry-After") == "" {
		t.Errorf("got %d %v %s", got.status, got.header, got.body)
	}
}

func TestLimitsAreCountedAcrossReloadsAndSurfaces(t *testing.T) {
	e := startEdge(t, edgeConfig{})
	_, key := e.issue(engine.IssueRequest{RateLimit: thrice})
	use := func() int { return e.get("/", "Authorization", "Bearer "+key).status }
	use()
	got := e.call(e.admin, "admin/apiKeys:verify", `{"credential":"`+key+`"}`)
	if !strings.Contains(got.body, `"rate_limit_remaining":"1"`) {
		t.Errorf("verified after one use: %s", got.body)
	}
	before := runningNode(e.t)
	e.load(edgeConfig{Talos: "cache {\nttl 30s\n}"}) // another node
	if runningNode(e.t) == before {
		t.Fatal("the reload kept the node, so nothing was tried")
	}
	if got := []int{use(), use()}; got[0] != http.StatusOK || got[1] != http.StatusTooManyRequests {
		t.Errorf("after a reload, with one use left: %v", got)
	}
	got = e.call(e.admin, "admin/apiKeys:verify", `{"credential":"`+key+`"}`)
	if !strings.Contains(got.body, "RATE_LIMITED") || got.header.Get("Retry-After") == "" {
		t.Errorf("verified beyond the limit: %v %s", got.header, got.body)
	}
	e.load(edgeConfig{Talos: "rate_limit off"})
	for range 5 {
		if got := use(); got != http.StatusOK {
			t.Errorf("with limits off: %d", got)
		}
	}
	pool.Limiters.Range(func(key, _ any) bool { t.Errorf("the limiter %v is left open", key); return true })
}

func TestASidecarCountsTheUsesOfKeysOfANodeOfOursItself(t *testing.T) {
	far := newFarNode(t)
	s := startSidecar(t, far.url(), "", "")
	made := s.call(http.MethodPost, s.addr, "/v2alpha1/admin/issuedApiKeys",
		`{"name":"n","actor_id":"a","rate_limit_policy":{"quota":"3","window":"60s"}}`)
	_, secret, _ := strings.Cut(made.body, `"secret":"`)
	secret, _, _ = strings.Cut(secret, `"`)
	for i, want := range []int{200, 200, 200, 429, 429} {
		got := s.gated(secret)
		if got.status != want {
			t.Fatalf("request %d: %d %s", i, got.status, got.body)
		}
		if want == 429 && got.header.Get("Ratelimit-Policy") != `"default";q=3;w=60` {
			t.Errorf("headers %v", got.header)
		}
	}
	until(t, "a verdict from the cache is limited, too", func() bool {
		if got := s.gated(secret); got.status != http.StatusTooManyRequests {
			t.Fatalf("got %d %s", got.status, got.body)
		}
		return runningNode(t).Verifier().Stats().Requests[verify.Hit] > 0
	})
	body := s.call(http.MethodPost, far.addr, verifyPath, `{"credential":"`+secret+`"}`).body
	if !strings.Contains(body, `"rate_limit_remaining":"2"`) {
		t.Errorf("the node's own count was used up: %s", body)
	}
}

func TestAnotherImplementationCountsTheUsesOfItsKeysItself(t *testing.T) {
	api := &plainAPI{}
	far := newFarServer(t, api)
	s := startSidecar(t, far.url(), `header Authorization "`+sidecarToken+`"`, "")
	api.add("its-own-limit")
	for range 3 {
		if got := s.gated("its-own-limit"); got.status != http.StatusOK {
			t.Errorf("got %d %s", got.status, got.body)
		}
	}
}
