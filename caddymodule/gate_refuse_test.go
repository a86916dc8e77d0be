package caddymodule_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

func TestGate_RefusesWithAnAnswerThatSaysNoMoreThanItMay(t *testing.T) {
	e := startEdge(t, edgeConfig{
		Talos: "public_prefix acme_pub",
		Site: `
			route /scoped/* {
				talos_gate {
					scopes orders:read orders:write
				}
				reverse_proxy BACKEND
			}
			route /any/* {
				talos_gate {
					any_scope admin ops
					realm "the shop"
				}
				reverse_proxy BACKEND
			}
			route /token/* {
				talos_gate {
					from header Authorization Token
				}
				reverse_proxy BACKEND
			}
			route /public/* {
				talos_gate {
					visibility public
				}
				reverse_proxy BACKEND
			}
			route {
				talos_gate
				reverse_proxy BACKEND
			}`,
	})
	_, plain := e.issue(engine.IssueRequest{Scopes: []string{"orders:read"}})
	_, wild := e.issue(engine.IssueRequest{Scopes: []string{"orders:*"}})
	_, ops := e.issue(engine.IssueRequest{Scopes: []string{"ops"}})
	_, far := e.issue(engine.IssueRequest{AllowedCIDRs: cidrs(t, "203.0.113.0/24")})
	_, near := e.issue(engine.IssueRequest{AllowedCIDRs: cidrs(t, "127.0.0.0/8")})
	_, public := e.issue(engine.IssueRequest{Visibility: core.VisibilityPublic})
	revokedID, revoked := e.issue(engine.IssueRequest{})
	e.revoke(revokedID)
	expired := e.store(core.Key{ExpireTime: time.Now().Add(-time.Minute)})
	forged := plain[:len(plain)-4] + "1111"
	bearer := func(credential string) []string { return []string{"Authorization", "Bearer " + credential} }

	const (
		ask     = `Bearer realm="api"`
		invalid = `Bearer realm="api", error="invalid_token"`
		several = `Bearer realm="api", error="invalid_request"`
	)
	for name, tc := range map[string]struct {
		path      string
		header    []string
		status    int
		reason    string
		challenge string
	}{
		"a good key":                      {"/", bearer(plain), 200, "", ""},
		"the scheme in another case":      {"/", []string{"Authorization", "bEARER " + plain}, 200, "", ""},
		"more space behind the scheme":    {"/", []string{"Authorization", "Bearer   " + plain}, 200, "", ""},
		"an address on the list":          {"/", bearer(near), 200, "", ""},
		"a scope with a wildcard":         {"/scoped/", bearer(wild), 200, "", ""},
		"one of any scopes":               {"/any/", bearer(ops), 200, "", ""},
		"a public key where one is asked": {"/public/", bearer(public), 200, "", ""},
		"another scheme, configured":      {"/token/", []string{"Authorization", "token " + plain}, 200, "", ""},

		"nothing":                   {"/", nil, 401, "CREDENTIAL_REQUIRED", ask},
		"another scheme":            {"/", []string{"Authorization", "Basic eDp5"}, 401, "CREDENTIAL_REQUIRED", ask},
		"no scheme":                 {"/", []string{"Authorization", plain}, 401, "CREDENTIAL_REQUIRED", ask},
		"a header that is not ours": {"/", []string{"X-Api-Key", plain}, 401, "CREDENTIAL_REQUIRED", ask},
		"a scheme that is not ours": {
			"/token/", bearer(plain), 401, "CREDENTIAL_REQUIRED", `Token realm="api"`,
		},
		"nothing, in another realm": {"/any/", nil, 401, "CREDENTIAL_REQUIRED", `Bearer realm="the shop"`},
		"an empty token":            {"/", []string{"Authorization", "Bearer"}, 401, "UNKNOWN_CREDENTIAL", invalid},
		"an unknown string":         {"/", bearer("sk_live_4242"), 401, "UNKNOWN_CREDENTIAL", invalid},
		"a forged key":              {"/", bearer(forged), 401, "UNKNOWN_CREDENTIAL", invalid},
		"a revoked key":             {"/", bearer(revoked), 401, "UNKNOWN_CREDENTIAL", invalid},
		"an expired key":            {"/", bearer(expired), 401, "UNKNOWN_CREDENTIAL", invalid},
		"a key id":                  {"/", bearer(revokedID), 401, "UNKNOWN_CREDENTIAL", invalid},
		"two lines": {
			"/", []string{"Authorization", "Bearer " + plain, "Authorization", "Bearer " + plain},
			400, "BAD_REQUEST", several,
		},

		"a missing scope": {
			"/scoped/", bearer(plain), 403, "FORBIDDEN",
			ask + `, error="insufficient_scope", scope="orders:read orders:write"`,
		},
		"none of any scopes": {
			"/any/", bearer(plain), 403, "FORBIDDEN",
			`Bearer realm="the shop", error="insufficient_scope", scope="admin ops"`,
		},
		"an address off the list":        {"/", bearer(far), 403, "IP_NOT_ALLOWED", ""},
		"a public key":                   {"/", bearer(public), 403, "FORBIDDEN", ""},
		"a secret key on a public route": {"/public/", bearer(plain), 403, "FORBIDDEN", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions, http.MethodHead} {
				before := e.backend.requests()
				got := e.do(method, tc.path, nil, tc.header...)
				if got.status != tc.status {
					t.Fatalf("%s: status %d, want %d: %s", method, got.status, tc.status, got.body)
				}
				if tc.status == http.StatusOK {
					continue
				}
				if e.backend.requests() != before {
					t.Errorf("%s: the app was asked", method)
				}
				if method != http.MethodHead && got.reason() != tc.reason {
					t.Errorf("%s: reason %q, want %q: %s", method, got.reason(), tc.reason, got.body)
				}
				if c := got.header.Get("Www-Authenticate"); c != tc.challenge {
					t.Errorf("%s: challenge %s, want %s", method, c, tc.challenge)
				}
				if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Vary") != "Authorization" {
					t.Errorf("%s: headers %v", method, got.header)
				}
			}
		})
	}
}
