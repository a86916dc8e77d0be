package caddymodule_test

import (
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/core/engine"
)

// gatedProxy is a site with one gate in front of the app.
func gatedProxy(options ...string) string {
	return "talos_gate {\n" + strings.Join(options, "\n") + "\n}\nreverse_proxy BACKEND"
}

func TestGate_AdmitsAGoodKeyAndTellsTheAppWhose(t *testing.T) {
	e := startEdge(t, edgeConfig{})
	id, secret := e.issue(engine.IssueRequest{
		ActorID: "zoë, \n%", Scopes: []string{"orders:read", "b"}, Metadata: []byte(`{"plan":"pro"}`),
	})
	for range 2 { // a miss, then a hit
		got := e.get("/a?b=c", "Authorization", "Bearer "+secret)
		if got.status != http.StatusOK {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
		s := got.seen(t)
		for name, want := range map[string]string{
			"X-Talos-Key-Id":   id,
			"X-Talos-Actor":    "zo%C3%AB%2C %0A%25",
			"X-Talos-Scopes":   "orders:read b",
			"X-Talos-Metadata": base64.RawURLEncoding.EncodeToString([]byte(`{"plan":"pro"}`)),
		} {
			if !slices.Equal(s.Header[name], []string{want}) {
				t.Errorf("%s is %q, want %q", name, s.Header[name], want)
			}
		}
		if _, ok := s.Header["Authorization"]; ok {
			t.Error("the app was sent the credential")
		}
		if s.URI != "/a?b=c" {
			t.Errorf("URI %q", s.URI)
		}
		if got.header.Get("Vary") != "Authorization" || got.header.Get("Cache-Control") != "" {
			t.Errorf("headers %v", got.header)
		}
	}
}

func TestGate_SendsTheFieldsThatIdentityNames(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: `
		route /default/* {
			talos_gate
			reverse_proxy BACKEND
		}
		route /two/* {
			talos_gate {
				identity X-Who- network key_id
			}
			reverse_proxy BACKEND
		}
		route /again/* {
			talos_gate
			talos_gate {
				identity X-Talos- network
			}
			reverse_proxy BACKEND
		}`,
	})
	id, secret := e.issue(engine.IssueRequest{
		ActorID: "someone", Scopes: []string{"orders:read"}, Metadata: []byte(`{"plan":"pro"}`),
	})
	const network = "00000000-0000-0000-0000-000000000000"
	metadata := base64.RawURLEncoding.EncodeToString([]byte(`{"plan":"pro"}`))
	for path, want := range map[string]map[string]string{
		"/default/": {
			"X-Talos-Key-Id": id, "X-Talos-Actor": "someone", "X-Talos-Scopes": "orders:read",
			"X-Talos-Metadata": metadata,
		},
		"/two/":   {"X-Who-Key-Id": id, "X-Who-Network": network},
		"/again/": {"X-Talos-Network": network},
	} {
		got := map[string]string{}
		for name, values := range e.get(path, "Authorization", "Bearer "+secret).seen(t).Header {
			if strings.HasPrefix(name, "X-Talos-") || strings.HasPrefix(name, "X-Who-") {
				got[name] = strings.Join(values, "|")
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: the app got %v, want %v", path, got, want)
		}
	}
}

func TestGate_ReadsAndStripsConfiguredCredentials(t *testing.T) {
	const sources = "from header Authorization Bearer\nfrom header X-Api-Key\nfrom query api_key\nfrom cookie key"
	e := startEdge(t, edgeConfig{Site: `
		route /keep/* {
			talos_gate {
				` + sources + `
				keep_credential
			}
			reverse_proxy BACKEND
		}
		route {
			talos_gate {
				` + sources + `
			}
			reverse_proxy BACKEND
		}`})
	_, key := e.issue(engine.IssueRequest{})
	for name, tc := range map[string]struct {
		target string
		header []string
		uri    string // as the app should see it
		cookie []string
		keeps  func(seen) bool
	}{
		"a scheme": {"/", []string{"Authorization", "Bearer " + key}, "/", nil,
			func(s seen) bool { return s.Header.Get("Authorization") == "Bearer "+key }},
		"a whole header": {"/", []string{"X-Api-Key", key, "Authorization", "Basic eDp5"}, "/", nil,
			func(s seen) bool { return s.Header.Get("X-Api-Key") == key }},
		"the query": {"/x?a=1&api_key=" + key + "&b=%20&c;d", nil, "/x?a=1&b=%20&c;d", nil,
			func(s seen) bool { return strings.Contains(s.URI, key) }},
		"the query, encoded": {"/x?api%5Fkey=" + strings.ReplaceAll(key, "_", "%5f"), nil, "/x", nil,
			func(s seen) bool { return strings.Contains(s.URI, "%5f") }},
		"a cookie": {"/", []string{"Cookie", "a=b; key=" + key + "; c=d"}, "/", []string{"a=b; c=d"},
			func(s seen) bool { return strings.Contains(s.Header.Get("Cookie"), key) }},
		"a cookie in quotes, alone": {"/", []string{"Cookie", `key="` + key + `"`}, "/", nil,
			func(s seen) bool { return strings.Contains(s.Header.Get("Cookie"), key) }},
	} {
		t.Run(name, func(t *testing.T) {
			got := e.get(tc.target, tc.header...)
			if got.status != http.StatusOK {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
			s := got.seen(t)
			if strings.Contains(got.body, key) || tc.keeps(s) {
				t.Errorf("the app was sent the credential: %s", got.body)
			}
			if s.URI != tc.uri || !slices.Equal(s.Header["Cookie"], tc.cookie) {
				t.Errorf("URI %q with cookies %q, want %q with %q", s.URI, s.Header["Cookie"], tc.uri, tc.cookie)
			}
			if strings.Contains(strings.Join(tc.header, " "), "Basic") &&
				s.Header.Get("Authorization") != "Basic eDp5" {
				t.Error("another scheme's header was not left alone")
			}
			if v := got.header.Get("Vary"); v != "Authorization, X-Api-Key, Cookie" {
				t.Errorf("Vary: %s", v)
			}

			got = e.get("/keep"+tc.target, tc.header...)
			if got.status != http.StatusOK || !tc.keeps(got.seen(t)) {
				t.Errorf("keep_credential: %d: %s", got.status, got.body)
			}
		})
	}
}

func TestGate_OptionalPassesOnlyWhoShowsNothing(t *testing.T) {
	e := startEdge(t, edgeConfig{
		Site: gatedProxy("optional", "from header Authorization Bearer", "from query api_key"),
	})
	id, key := e.issue(engine.IssueRequest{})
	for name, tc := range map[string]struct {
		target string
		header []string
		status int
		keyID  string
	}{
		"nothing":           {"/", nil, 200, ""},
		"another scheme":    {"/", []string{"Authorization", "Basic eDp5"}, 200, ""},
		"a good key":        {"/", []string{"Authorization", "Bearer " + key}, 200, id},
		"a bad key":         {"/", []string{"Authorization", "Bearer x"}, 401, ""},
		"an empty scheme":   {"/", []string{"Authorization", "Bearer"}, 401, ""},
		"an empty value":    {"/?api_key=", nil, 401, ""},
		"a name, no value":  {"/?api_key", nil, 401, ""},
		"two, one empty":    {"/?api_key=", []string{"Authorization", "Bearer " + key}, 400, ""},
		"two lines":         {"/", []string{"Authorization", "Bearer " + key, "Authorization", "Basic eDp5"}, 400, ""},
		"forged identities": {"/", []string{"X-Talos-Key-Id", "forged", "X-Talos-Actor", "root"}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := e.get(tc.target, tc.header...)
			if got.status != tc.status {
				t.Fatalf("status %d, want %d", got.status, tc.status)
			}
			if tc.status != http.StatusOK {
				return
			}
			s := got.seen(t)
			if s.Header.Get("X-Talos-Key-Id") != tc.keyID || (tc.keyID == "" && s.Header.Get("X-Talos-Actor") != "") {
				t.Errorf("identity %v", s.Header)
			}
		})
	}
}

func TestGate_IdentityPrefixAndOff(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: `
		route /off/* {
			talos_gate {
				identity off
			}
			reverse_proxy BACKEND
		}
		route {
			talos_gate {
				identity x-caller-
			}
			reverse_proxy BACKEND
		}`})
	id, key := e.issue(engine.IssueRequest{})
	forged := []string{"X-Talos-Actor", "root", "X-Caller-Actor", "root", "Authorization", "Bearer " + key}

	s := e.get("/off/", forged...).seen(t)
	if s.Header.Get("X-Talos-Actor") != "" || s.Header.Get("X-Talos-Key-Id") != "" {
		t.Errorf("off: %v", s.Header)
	}
	s = e.get("/", forged...).seen(t)
	if s.Header.Get("X-Caller-Actor") != "someone" || s.Header.Get("X-Caller-Key-Id") != id {
		t.Errorf("another prefix: %v", s.Header)
	}
}

func TestGate_ASecondGateJudgesTheVerdictOfTheFirst(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: `
		@strict path */strict
		route {
			talos_gate /open/* {
				optional
			}
			talos_gate /closed/*
			talos_gate @strict {
				scopes admin
				identity X-Inner-
				from header X-Api-Key
				from header Authorization Bearer
			}
			reverse_proxy BACKEND
		}`})
	_, plain := e.issue(engine.IssueRequest{})
	adminID, admin := e.issue(engine.IssueRequest{Scopes: []string{"admin"}})
	before := decisions(t, "admitted", "ok")

	if got := e.get("/closed/strict", "Authorization", "Bearer "+plain); got.status != http.StatusForbidden {
		t.Errorf("a key that only the first gate takes: %d", got.status)
	}
	got := e.get("/closed/strict", "Authorization", "Bearer "+admin, "X-Api-Key", "another")
	if got.status != http.StatusOK {
		t.Fatalf("a key that both gates take: %d: %s", got.status, got.body)
	}
	sent := got.seen(t).Header
	for name, want := range map[string]string{"X-Inner-Key-Id": adminID, "X-Talos-Key-Id": adminID, "X-Api-Key": ""} {
		if sent.Get(name) != want {
			t.Errorf("%s: the app got %q, want %q", name, sent.Get(name), want)
		}
	}
	if n := decisions(t, "admitted", "ok") - before; n != 2 {
		t.Errorf("%d admissions were counted, want one a request", n)
	}
	if got := e.get("/open/strict"); got.status != http.StatusUnauthorized {
		t.Errorf("nothing at all, behind an optional gate: %d", got.status)
	}
	if got := e.get("/open/x"); got.status != http.StatusOK {
		t.Errorf("nothing at an optional gate: %d", got.status)
	}
	if got := e.get("/open/strict", "X-Api-Key", admin); got.status != http.StatusOK {
		t.Errorf("a credential that only the second gate looks for: %d", got.status)
	}
}

func TestGate_PublishesPlaceholders(t *testing.T) {
	const names = "{http.auth.user.id}|{http.auth.user.actor}|{http.auth.user.scopes}|{http.auth.user.network}|" +
		"{http.auth.user.visibility}|{http.auth.user.credential_type}|{http.auth.user.metadata.plan}|" +
		"{http.auth.user.metadata.seats}|{http.auth.user.metadata.none}|{http.auth.user.metadata.more}"
	e := startEdge(t, edgeConfig{Site: "talos_gate\nrespond `" + names + "`"})
	id, key := e.issue(engine.IssueRequest{
		ActorID: "zoë", Scopes: []string{"a", "b"},
		Metadata: []byte(`{"plan":"pro plus","seats":3,"none":null,"more":{"x":[1]}}`),
	})
	got := e.get("/", "Authorization", "Bearer "+key)
	want := id + "|zo%C3%AB|a b|00000000-0000-0000-0000-000000000000|secret|issued|pro plus|3||" + `{"x":[1]}`
	if got.body != want {
		t.Errorf("got  %s\nwant %s", got.body, want)
	}
}

func TestGate_TheIdentityOfAnotherAuthenticationDoesNotStay(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: `
		route {
			vars http.auth.user.id somebody
			talos_gate
			respond "{http.auth.user.id}"
		}`})
	id, key := e.issue(engine.IssueRequest{})
	if got := e.get("/", "Authorization", "Bearer "+key); got.body != id {
		t.Errorf("user id %q, want %q", got.body, id)
	}
}

func TestGate_ACredentialOfTheQueryIsLeftInNoFormOfTheURL(t *testing.T) {
	const page = "respond `{http.request.orig_uri}|{http.request.orig_uri.query}|{http.request.uri}|" +
		"{http.request.uri.query}|{query.api_key}`"
	e := startEdge(t, edgeConfig{
		Site: "talos_gate {\nfrom query api_key\nscopes a\n}\nrewrite /old /new?{query}&c\n" + page +
			"\nhandle_errors {\n" + page + "\n}",
	})
	_, good := e.issue(engine.IssueRequest{Scopes: []string{"a"}})
	_, weak := e.issue(engine.IssueRequest{})
	for key, want := range map[string]string{
		good: "/old?b|b|/new?b&c|b&c|",
		weak: "/old?b|b|/old?b|b|",
	} {
		if got := e.get("/old?api_key=" + key + "&b"); got.body != want {
			t.Errorf("%d: got %s, want %s", got.status, got.body, want)
		}
	}
}
