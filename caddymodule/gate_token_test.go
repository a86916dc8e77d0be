package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

// algorithms are the kinds of token, by name.
var algorithms = map[string]engine.TokenAlgorithm{"JWT": engine.AlgorithmJWT, "macaroon": engine.AlgorithmMacaroon}

// scopedSite asks for a scope under /a, for another under /b, and for none elsewhere.
const scopedSite = `
	talos_gate /a/* {
		scopes a
	}
	talos_gate /b/* {
		scopes b
	}
	@plain not path /a/* /b/*
	talos_gate @plain
	reverse_proxy BACKEND`

func TestGate_ATokenHoldsWhatItWasGivenUntilItsKeyIsRevoked(t *testing.T) {
	for name, algorithm := range map[string]string{
		"JWT": "TOKEN_ALGORITHM_JWT", "macaroon": "TOKEN_ALGORITHM_MACAROON",
	} {
		t.Run(name, func(t *testing.T) {
			e := startEdge(t, edgeConfig{Site: scopedSite})
			id, key := e.issue(engine.IssueRequest{
				ActorID: "zoë", Scopes: []string{"a", "b"}, Metadata: []byte(`{"plan":"pro"}`),
			})
			made := e.call(e.admin, "admin/apiKeys:derive",
				`{"credential":"`+key+`","algorithm":"`+algorithm+`","scopes":["a"],"ttl":"10m",`+
					`"custom_claims":{"x":1}}`)
			var derived struct{ Token struct{ Token string } }
			if err := json.Unmarshal([]byte(made.body), &derived); err != nil || made.status != http.StatusOK {
				t.Fatalf("deriving: %d %s", made.status, made.body)
			}
			token := []string{"Authorization", "Bearer " + derived.Token.Token}
			for range 3 { // a miss, then hits
				got := e.get("/a/", token...)
				if got.status != http.StatusOK {
					t.Fatalf("where its scope does: %d %s", got.status, got.body)
				}
				s := got.seen(t)
				for header, want := range map[string]string{
					"X-Talos-Key-Id": id, "X-Talos-Actor": "zo%C3%AB", "X-Talos-Scopes": "a", "Authorization": "",
				} {
					if s.Header.Get(header) != want {
						t.Errorf("%s is %q, want %q", header, s.Header.Get(header), want)
					}
				}
				if got := e.get("/b/", token...); got.status != http.StatusForbidden {
					t.Errorf("where its key would do: %d", got.status)
				}
				if got := e.get("/b/", "Authorization", "Bearer "+key); got.status != http.StatusOK {
					t.Errorf("the key itself: %d", got.status)
				}
			}
			e.revoke(id)
			for range 3 {
				got := e.get("/a/", token...)
				if got.status != http.StatusUnauthorized || got.reason() != "UNKNOWN_CREDENTIAL" {
					t.Fatalf("after its key was revoked: %d %s", got.status, got.body)
				}
			}
		})
	}
}

func TestGate_ATokenIsAsNarrowAsItsKeyIsNow(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: scopedSite, Global: "servers {\ntrusted_proxies static 127.0.0.0/8\n}"})
	id, key := e.issue(engine.IssueRequest{Scopes: []string{"a", "b"}})
	tokens := map[string]string{}
	for name, algorithm := range algorithms {
		tokens[name] = e.derive(engine.DeriveRequest{Credential: key, Algorithm: algorithm})
		if got := e.get("/a/", "Authorization", "Bearer "+tokens[name]); got.status != http.StatusOK {
			t.Fatalf("%s: %d %s", name, got.status, got.body)
		}
	}
	_, err := e.node().Keys(core.NetworkID{}).Update(t.Context(), core.AnyKind, id, engine.UpdateRequest{
		Mask: []string{engine.PathScopes, engine.PathCIDRs}, Scopes: []string{"b"},
		AllowedCIDRs: cidrs(t, "203.0.113.0/24"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range tokens {
		for range 2 {
			for _, c := range []struct {
				path, from string
				want       int
			}{
				{"/b/", "203.0.113.7", 200}, {"/a/", "203.0.113.7", 403}, {"/b/", "198.51.100.7", 403},
			} {
				got := e.get(c.path, "Authorization", "Bearer "+token, "X-Forwarded-For", c.from)
				if got.status != c.want {
					t.Errorf("%s, %s from %s: %d, want %d", name, c.path, c.from, got.status, c.want)
				}
			}
		}
	}
}

func TestAttack01_WhatAHolderTookFromAMacaroonHoldsAtEachHit(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: scopedSite, Global: "servers {\ntrusted_proxies static 127.0.0.0/8\n}"})
	_, key := e.issue(engine.IssueRequest{
		Scopes: []string{"a", "b"}, AllowedCIDRs: cidrs(t, "203.0.113.0/24", "127.0.0.0/8"),
	})
	whole := e.derive(engine.DeriveRequest{
		Credential: key, Algorithm: engine.AlgorithmMacaroon, Client: netip.MustParseAddr("127.0.0.1"),
	})
	narrow := func(macaroon string, n engine.Narrowing) string {
		t.Helper()
		narrower, err := engine.Attenuate(macaroon, n)
		if err != nil {
			t.Fatal(err)
		}
		return narrower
	}
	onlyA := narrow(whole, engine.Narrowing{Scopes: []string{"a"}})
	onlySome := narrow(onlyA, engine.Narrowing{CIDRs: cidrs(t, "203.0.113.128/25", "198.51.100.0/24")})
	nothing := narrow(onlyA, engine.Narrowing{Scopes: []string{"b"}})
	nowhere := narrow(whole, engine.Narrowing{CIDRs: cidrs(t, "198.51.100.0/24")})
	over := narrow(whole, engine.Narrowing{Expires: time.Now().Add(-time.Second)})
	for range 3 { // misses, then hits
		for _, c := range []struct {
			name, macaroon, path, from string
			want                       int
		}{
			{"whole", whole, "/b/", "203.0.113.7", 200},
			{"whole, elsewhere", whole, "/b/", "198.51.100.7", 403},
			{"scoped", onlyA, "/a/", "203.0.113.7", 200},
			{"scoped, another route", onlyA, "/b/", "203.0.113.7", 403},
			{"in both lists", onlySome, "/a/", "203.0.113.200", 200},
			{"in the key's list only", onlySome, "/a/", "203.0.113.7", 403},
			{"in the caveat's list only", onlySome, "/a/", "198.51.100.7", 403},
			{"two scopes that exclude each other", nothing, "/a/", "203.0.113.7", 403},
			{"the same, on the other route", nothing, "/b/", "203.0.113.7", 403},
			{"the same, where none is asked", nothing, "/", "203.0.113.7", 200},
			{"lists without a common address", nowhere, "/", "203.0.113.7", 403},
			{"the same, from the other one", nowhere, "/", "198.51.100.7", 403},
			{"expired", over, "/", "203.0.113.7", 401},
		} {
			got := e.get(c.path, "Authorization", "Bearer "+c.macaroon, "X-Forwarded-For", c.from)
			if got.status != c.want {
				t.Errorf("%s: %d, want %d: %s", c.name, got.status, c.want, got.body)
			}
		}
	}
}

func TestAttack01_TheTimeOfAMacaroonsHolderIsJudgedAtEachHit(t *testing.T) {
	e := startEdge(t, edgeConfig{})
	_, key := e.issue(engine.IssueRequest{})
	whole := e.derive(engine.DeriveRequest{Credential: key, Algorithm: engine.AlgorithmMacaroon})
	end := time.Now().Truncate(time.Second).Add(2 * time.Second) // the caveat is in whole seconds
	macaroon, err := engine.Attenuate(whole, engine.Narrowing{Expires: end})
	if err != nil {
		t.Fatal(err)
	}
	admitted := 0
	until(t, "it is refused", func() bool {
		late := !time.Now().Before(end)
		got := e.get("/", "Authorization", "Bearer "+macaroon)
		switch {
		case got.status == http.StatusOK && !late:
			admitted++
		case got.status != http.StatusUnauthorized || !late && time.Now().Before(end):
			t.Fatalf("late %t: %d %s", late, got.status, got.body)
		}
		return got.status != http.StatusOK
	})
	if admitted < 2 {
		t.Errorf("it was admitted %d times before its end", admitted)
	}
	if got := e.get("/", "Authorization", "Bearer "+whole); got.status != http.StatusOK {
		t.Errorf("the macaroon that it was made of: %d", got.status)
	}
}

func TestGate_ATokenOfAnImportedKeyNamesThatKeyAndItsOwnType(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: "talos_gate\nrespond `{http.auth.user.id}|{http.auth.user.credential_type}`"})
	made, err := e.node().Keys(core.NetworkID{}).Import(t.Context(), engine.ImportRequest{
		RawKey: "sk_live_4242", IssueRequest: engine.IssueRequest{Name: "n", ActorID: "a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, algorithm := range algorithms {
		token := e.derive(engine.DeriveRequest{Credential: "sk_live_4242", Algorithm: algorithm})
		got := e.get("/", "Authorization", "Bearer "+token)
		if got.body != made.ID+"|"+strings.ToLower(name) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if got := e.get("/", "Authorization", "Bearer sk_live_4242"); got.body != made.ID+"|imported" {
		t.Errorf("the key: %d %s", got.status, got.body)
	}
}

func TestASidecarAdmitsTokensUntilTheirKeyIsRevoked(t *testing.T) {
	far := newFarNode(t)
	s := startSidecar(t, far.url(), "", "")
	id, key := s.issue()
	tokens := map[string]string{}
	for _, name := range []string{"JWT", "MACAROON"} {
		made := s.call(http.MethodPost, s.addr, "/v2alpha1/admin/apiKeys:derive",
			`{"credential":"`+key+`","algorithm":"TOKEN_ALGORITHM_`+name+`"}`)
		var derived struct{ Token struct{ Token string } }
		if err := json.Unmarshal([]byte(made.body), &derived); err != nil || made.status != http.StatusOK {
			t.Fatalf("deriving through the sidecar: %d %s", made.status, made.body)
		}
		tokens[name] = derived.Token.Token
	}
	bound, err := engine.Attenuate(tokens["MACAROON"], engine.Narrowing{CIDRs: cidrs(t, "203.0.113.0/24")})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for name, token := range tokens {
			if got := s.gated(token); got.status != http.StatusOK || got.body != id {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
		}
		for from, want := range map[string]int{"203.0.113.9": 200, "198.51.100.9": 403} {
			if got := s.gatedFrom(from, bound); got.status != want {
				t.Errorf("from %s with a caveat: %d %s", from, got.status, got.body)
			}
		}
	}
	sets := []string{}
	for _, addr := range []string{far.addr, s.addr, s.public} {
		sets = append(sets, s.call(http.MethodGet, addr, "/v2alpha1/derivedKeys/jwks.json", "").body)
	}
	if len(slices.Compact(sets)) != 1 || !strings.Contains(sets[0], `"kid":"far"`) {
		t.Errorf("the key sets are %q", sets)
	}
	got := s.call(http.MethodPost, s.addr, "/v2alpha1/admin/apiKeys/"+id+":revoke", "{}")
	if got.status != http.StatusOK {
		t.Fatalf("revoking: %d %s", got.status, got.body)
	}
	for name, token := range tokens {
		if got := s.gated(token); got.status != http.StatusUnauthorized {
			t.Errorf("%s of a key that was revoked through the sidecar: %d %s", name, got.status, got.body)
		}
	}
}

func TestKeysBeyondTheQuotaAreNotIssued(t *testing.T) {
	e := startEdge(t, edgeConfig{Talos: "key_quota 2"})
	id, _ := e.issue(engine.IssueRequest{})
	e.issue(engine.IssueRequest{})
	const body = `{"name":"n","actor_id":"a"}`
	got := e.call(e.admin, "admin/issuedApiKeys", body)
	if got.status != http.StatusPaymentRequired || got.reason() != "API_KEY_QUOTA_EXCEEDED" {
		t.Errorf("a third key: %d %s", got.status, got.body)
	}
	e.revoke(id)
	if got := e.call(e.admin, "admin/issuedApiKeys", body); got.status != http.StatusOK {
		t.Errorf("a key in the place of a revoked one: %d %s", got.status, got.body)
	}
}
