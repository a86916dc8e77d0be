package caddymodule_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/verify"
)

func TestAttack01_RulesAreJudgedAgainOnEveryHit(t *testing.T) {
	e := startEdge(t, edgeConfig{
		Global: "servers {\ntrusted_proxies static 127.0.0.0/8\n}",
		Site: `
			talos_gate /scoped/* {
				scopes admin
			}
			talos_gate /free/*
			reverse_proxy BACKEND`,
	})
	_, key := e.issue(engine.IssueRequest{AllowedCIDRs: cidrs(t, "203.0.113.0/24")})
	near := []string{"Authorization", "Bearer " + key, "X-Forwarded-For", "203.0.113.7"}
	far := []string{"Authorization", "Bearer " + key, "X-Forwarded-For", "198.51.100.7"}
	for range 3 { // the first is a miss
		if got := e.get("/free/", near...); got.status != http.StatusOK {
			t.Fatalf("from an address on the list: %d", got.status)
		}
		if got := e.get("/free/", far...); got.status != http.StatusForbidden {
			t.Fatalf("from an address off the list: %d", got.status)
		}
		if got := e.get("/scoped/", near...); got.status != http.StatusForbidden {
			t.Fatalf("where a scope is missing: %d", got.status)
		}
	}
	if hits := e.node().Verifier().Stats().Requests[verify.Hit]; hits == 0 {
		t.Error("nothing was answered from the cache, so nothing was tried")
	}
}

// A gate's rules are its own: what another gate decided about the same key must not matter.
func TestAttack02_GatesWithOtherRulesShareNoDecision(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: `
		talos_gate /a/* {
			scopes a
		}
		talos_gate /b/* {
			scopes b
		}
		reverse_proxy BACKEND`})
	_, a := e.issue(engine.IssueRequest{Scopes: []string{"a"}})
	_, b := e.issue(engine.IssueRequest{Scopes: []string{"b"}})
	for range 3 {
		for path, want := range map[string]map[string]int{"/a/": {a: 200, b: 403}, "/b/": {a: 403, b: 200}} {
			for key, status := range want {
				if got := e.get(path, "Authorization", "Bearer "+key); got.status != status {
					t.Errorf("%s: %d, want %d", path, got.status, status)
				}
			}
		}
	}
}

// TestAttack05_NoRequestBegunAfterARevocationIsAdmitted revokes a key while 64 connections use it. Warm: its verdict is
// in the cache. Cold: the first look-ups are under way when the revocation comes.
func TestAttack05_NoRequestBegunAfterARevocationIsAdmitted(t *testing.T) {
	const connections = 64
	e := startEdge(t, edgeConfig{Site: "talos_gate\nrespond ok"})
	rounds := 6
	if os.Getenv("TALOS_LONG") != "" {
		rounds = 200
	}
	for round := range rounds {
		warm := round%2 == 0
		t.Run(fmt.Sprintf("round %d, warm %t", round, warm), func(t *testing.T) {
			id, key := e.issue(engine.IssueRequest{})
			switch round % 6 { // what holds for a key holds for its tokens
			case 2, 3:
				key = e.derive(engine.DeriveRequest{Credential: key})
			case 4, 5:
				key = e.derive(engine.DeriveRequest{Credential: key, Algorithm: engine.AlgorithmMacaroon})
			}
			var (
				revoked  atomic.Bool
				admitted atomic.Int64
				late     atomic.Int64
				wg       sync.WaitGroup
			)
			start, warmed := make(chan struct{}), make(chan struct{}, connections)
			for range connections {
				wg.Go(func() {
					<-start
					for refusals := 0; refusals < 5; {
						after := revoked.Load() // before the request begins
						status := hammer(e, key)
						switch {
						case status == http.StatusOK && after:
							late.Add(1)
							return
						case status == http.StatusOK:
							admitted.Add(1)
						case status != http.StatusUnauthorized:
							t.Errorf("status %d", status)
							return
						case after:
							refusals++
						}
						select {
						case warmed <- struct{}{}:
						default:
						}
					}
				})
			}
			close(start)
			if warm {
				for range connections {
					<-warmed
				}
			}
			e.revoke(id)
			revoked.Store(true)
			wg.Wait()
			if late.Load() > 0 {
				t.Errorf("%d requests that began after the revocation was acknowledged were admitted", late.Load())
			}
			if warm && admitted.Load() == 0 {
				t.Error("nothing was admitted before, so nothing was tried")
			}
		})
	}
}

func hammer(e *edge, key string) int {
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodGet, "http://"+e.addr+"/", nil)
	if err != nil {
		return 0
	}
	req.Header["Authorization"] = []string{"Bearer " + key}
	res, err := e.client.Do(req)
	if err != nil {
		return 0
	}
	defer closeBody(res)
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// Cache-Control on a request counts on the private surface only: here it would let anyone reach the storage at will.
func TestAttack08_AClientCannotSkipTheCache(t *testing.T) {
	e := startEdge(t, edgeConfig{})
	_, key := e.issue(engine.IssueRequest{})
	for range 3 {
		got := e.get("/", "Authorization", "Bearer "+key, "Cache-Control", "no-cache, no-store", "Pragma", "no-cache")
		if got.status != http.StatusOK {
			t.Fatalf("status %d", got.status)
		}
	}
	if misses := e.node().Verifier().Stats().Requests[verify.Miss]; misses > 1 {
		t.Errorf("%d look-ups for one key", misses)
	}
}

func TestAttack14_TheClientsAddressIsNotWhatItSays(t *testing.T) {
	e := startEdge(t, edgeConfig{})
	_, key := e.issue(engine.IssueRequest{AllowedCIDRs: cidrs(t, "203.0.113.0/24", "2001:db8::/32")})
	for _, header := range []string{
		"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Cf-Connecting-Ip", "Client-Ip", "True-Client-Ip",
	} {
		for _, value := range []string{"203.0.113.7", "for=203.0.113.7", "127.0.0.1, 203.0.113.7", "2001:db8::1"} {
			if got := e.get("/", "Authorization", "Bearer "+key, header, value); got.status != http.StatusForbidden {
				t.Errorf("%s: %s: %d", header, value, got.status)
			}
		}
	}

	// A trusted proxy appends what it saw. Strict reading takes the last that is not a proxy's; the client's own word
	// is left of it.
	e.load(edgeConfig{Global: "servers {\ntrusted_proxies static 127.0.0.0/8\ntrusted_proxies_strict\n}"})
	for value, want := range map[string]int{
		"203.0.113.7":               200,
		"::ffff:203.0.113.7":        200,
		"203.0.113.7, 127.0.0.9":    200,
		"203.0.113.7, 198.51.100.1": 403,
		"198.51.100.1":              403,
		"":                          403,
	} {
		if got := e.get("/", "Authorization", "Bearer "+key, "X-Forwarded-For", value); got.status != want {
			t.Errorf("behind a trusted proxy, %q: %d, want %d", value, got.status, want)
		}
	}
}

func TestAttack15_ErrorRoutesDoNotTurnADenialIntoAPass(t *testing.T) {
	const sources = "from header Authorization Bearer\nfrom query api_key"
	for name, tc := range map[string]struct {
		options, routes string
		body            string // what the answer begins with
		status          int    // 0: that of the denial
	}{
		"a page of its own":        {"", `respond "sorry: {err.status_code}"`, "sorry: 401", 0},
		"the status of the denial": {"", `respond "sorry" {err.status_code}`, "sorry", 0},
		"nothing that fits":        {"", "@never path /never\nrespond @never x", "", 0},
		"the app shows the error":  {"", "reverse_proxy BACKEND", "{", 200},
		"the same, not stripped":   {"keep_credential", "reverse_proxy BACKEND", "{", 200},
		"a gate in an error route": {
			"",
			"talos_gate {\n" + sources + "\noptional\n}\nrespond `user [{http.auth.user.id}]` {err.status_code}",
			"user [",
			0,
		},
		"a strict gate in an error route": {"", "talos_gate {\n" + sources + "\n}\nreverse_proxy BACKEND", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEdge(t, edgeConfig{Site: "talos_gate {\n" + sources + "\nscopes admin\n" + tc.options + "\n}\n" +
				"reverse_proxy BACKEND\nhandle_errors {\n" + tc.routes + "\n}"})
			_, weak := e.issue(engine.IssueRequest{})
			for _, request := range []struct {
				target string
				header []string
				status int
			}{
				{"/x?a=b", nil, 401},
				{"/x?a=b", []string{"Authorization", "Bearer x"}, 401},
				{"/x?a=b", []string{"Authorization", "Bearer " + weak}, 403},
				{"/x?a=b&api_key=" + weak, nil, 403},
				{"/x?api_key=" + weak + "&a=b", []string{"Authorization", "Bearer " + weak}, 400},
			} {
				header := append([]string{"X-Talos-Actor", "root", "X-Talos-Key-Id", "forged"}, request.header...)
				got := e.get(request.target, header...)
				want := tc.status
				if want == 0 {
					want = request.status
				}
				if got.status != want {
					t.Errorf("%s: status %d, want %d", request.target, got.status, want)
				}
				if tc.body == "{" {
					// The app sees somebody without name or credential, and can show only what it shows to such.
					s := got.seen(t)
					for _, hidden := range []string{weak, "root", "forged"} {
						if strings.Contains(got.body, hidden) {
							t.Errorf("the app was sent %q in %s", hidden, got.body)
						}
					}
					if s.URI != "/x?a=b" {
						t.Errorf("URI %s", s.URI)
					}
				} else if !strings.HasPrefix(got.body,
					strings.ReplaceAll(tc.body, "401", strconv.Itoa(request.status))) {
					t.Errorf("body %q", got.body)
				}
				if got.header.Get("Cache-Control") != "no-store" {
					t.Errorf("Cache-Control %q", got.header.Get("Cache-Control"))
				}
				if !strings.Contains(got.header.Get("Vary"), "Authorization") {
					t.Errorf("Vary %q", got.header.Get("Vary"))
				}
				if request.status == 401 && !strings.HasPrefix(got.header.Get("Www-Authenticate"), "Bearer realm=") {
					t.Errorf("challenge %q", got.header.Get("Www-Authenticate"))
				}
			}
		})
	}
}

func TestAttack15_SharedCachesKeepNoAuthenticatedAnswer(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: gatedProxy("from header Authorization Bearer", "from header X-Api-Key",
		"from query api_key", "from cookie key", "optional")})
	_, key := e.issue(engine.IssueRequest{})
	const vary = "Authorization, X-Api-Key, Cookie"
	for name, tc := range map[string]struct {
		target string
		header []string
		want   []string // Cache-Control
	}{
		"Authorization, which caches know": {"/", []string{"Authorization", "Bearer " + key}, nil},
		"a header of its own":              {"/", []string{"X-Api-Key", key}, []string{"private"}},
		"the query":                        {"/?api_key=" + key, nil, []string{"private"}},
		"a cookie":                         {"/", []string{"Cookie", "key=" + key}, []string{"private"}},
		"nobody":                           {"/", nil, nil},
		"the app says how long": {"/", []string{"X-Api-Key", key, "Answer-Header", "Cache-Control: max-age=60"},
			[]string{"max-age=60", "private"}},
		"the app says public": {"/", []string{"X-Api-Key", key, "Answer-Header", "Cache-Control: public, max-age=60"},
			[]string{"public, max-age=60"}},
	} {
		got := e.get(tc.target, tc.header...)
		if got.status != http.StatusOK || !slices.Equal(got.header["Cache-Control"], tc.want) {
			t.Errorf("%s: %d, Cache-Control %q, want %q", name, got.status, got.header["Cache-Control"], tc.want)
		}
		if got.header.Get("Vary") != vary {
			t.Errorf("%s: Vary %q", name, got.header["Vary"])
		}
	}
	got := e.get("/", "X-Api-Key", key, "Answer-Header", "Vary: Accept")
	if v := got.header["Vary"]; !slices.Contains(v, vary) || !slices.Contains(v, "Accept") {
		t.Errorf("the app's Vary and ours: %q", v)
	}
	got = e.get("/", "X-Api-Key", "bad")
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Vary") != vary {
		t.Errorf("a denial: %v", got.header)
	}
}

func TestAttack18_NeitherTheKeyIDNorItsHashIsTheKey(t *testing.T) {
	e := startEdge(t, edgeConfig{Talos: "public_prefix acme_pub"})
	id, key := e.issue(engine.IssueRequest{})
	_, public := e.issue(engine.IssueRequest{Visibility: core.VisibilityPublic})
	for name, tc := range map[string]struct {
		credential string
		status     int
	}{
		"the key":                  {key, 200},
		"its id":                   {id, 401},
		"its checksum cut off":     {key[:strings.LastIndexByte(key, '_')], 401},
		"another prefix":           {"acme_pub" + strings.TrimPrefix(key, "ory_ak"), 401},
		"a public key":             {public, 403},
		"a public key made secret": {"ory_ak" + strings.TrimPrefix(public, "acme_pub"), 401},
		"the key in base64":        {base64.StdEncoding.EncodeToString([]byte(key)), 401},
		"an unsigned token in its name": {
			"eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"`+id+`"}`)) + ".x", 401,
		},
	} {
		if got := e.get("/", "Authorization", "Bearer "+tc.credential); got.status != tc.status {
			t.Errorf("%s: %d, want %d", name, got.status, tc.status)
		}
	}
}
