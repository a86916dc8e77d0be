package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/core/engine"
)

// forgedIdentity is what a client sends under the default prefix, in spellings that an app may fold to the real one.
var forgedIdentity = []string{
	"X-Talos-Actor", "root", "x-talos-actor", "root", "X-TALOS-Key-Id", "root", "X-Talos-Unheard-Of", "root",
}

// wantNoIdentity sends forged identity headers to a path. The app must see none of them.
func (e *edge) wantNoIdentity(target string, header ...string) {
	e.t.Helper()
	got := e.get(target, append(header, forgedIdentity...)...)
	for name := range got.seen(e.t).Header {
		if strings.HasPrefix(strings.ToLower(name), "x-talos") {
			e.t.Errorf("%s: the app sees %s", target, name)
		}
	}
}

// openAndGated are sites with a path that their gate does not see, /open/, and one that it does, /gated/.
var openAndGated = map[string]string{
	"a matcher": "@gated not path /open/*\ntalos_gate @gated\nreverse_proxy BACKEND",
	"handle":    "handle /gated/* {\ntalos_gate\nreverse_proxy BACKEND\n}\nhandle {\nreverse_proxy BACKEND\n}",
	"handle_path": "handle_path /gated/* {\ntalos_gate\nreverse_proxy BACKEND\n}\n" +
		"handle_path /open/* {\nreverse_proxy BACKEND\n}",
	"route": "route {\nreverse_proxy /open/* BACKEND\ntalos_gate\nreverse_proxy BACKEND\n}",
	"nested routes": "handle /gated/* {\nroute {\nhandle {\ntalos_gate\nreverse_proxy BACKEND\n}\n}\n}\n" +
		"reverse_proxy BACKEND",
	"an open path before the gate's": "reverse_proxy /open/* BACKEND\nroute /gated/* {\ntalos_gate\n" +
		"reverse_proxy BACKEND\n}",
	"a gate without identity": "@gated not path /open/*\ntalos_gate @gated {\nidentity off\n}\nreverse_proxy BACKEND",
	"an optional gate":        "talos_gate /gated/* {\noptional\n}\nreverse_proxy BACKEND",
	"several gates": "talos_gate /gated/* {\nidentity X-One-\n}\ntalos_gate /other/* {\nidentity X-Two-\n}\n" +
		"reverse_proxy BACKEND",
	"error routes": "route {\nerror /open/* 404\ntalos_gate\nreverse_proxy BACKEND\n}\n" +
		"handle_errors {\nreverse_proxy BACKEND\n}",
	"a host in the site": "@host host 127.0.0.1\nhandle @host {\nreverse_proxy /open/* BACKEND\ntalos_gate /gated/*\n" +
		"reverse_proxy BACKEND\n}",
	"a header that is read before the gate": "@admin header X-Talos-Actor root\nredir @admin /admin\n" +
		"map {header.X-Talos-Actor} {admin} {\nroot \"yes\"\ndefault \"\"\n}\nrequest_header X-Admin {admin}\n" +
		"@gated not path /open/*\ntalos_gate @gated\nreverse_proxy BACKEND",
}

func TestAttack09_NoPathOfASiteWithAGateLetsIdentityHeadersThrough(t *testing.T) {
	for name, site := range openAndGated {
		t.Run(name, func(t *testing.T) {
			e := startEdge(t, edgeConfig{Site: site})
			_, key := e.issue(engine.IssueRequest{})
			e.wantNoIdentity("/open/page")
			e.wantNoIdentity("/open/page", "X_Talos_Actor", "root", "Connection", "X-Talos-Actor")
			got := e.get("/gated/page", append(forgedIdentity, "Authorization", "Bearer "+key)...)
			header := got.seen(t).Header
			if actor := header["X-Talos-Actor"]; strings.Contains(site, "identity") == (len(actor) == 1) ||
				len(actor) > 0 && actor[0] != "someone" {
				t.Errorf("the gate's own identity: %v", header)
			}
			if header.Get("X-Admin") != "" {
				t.Errorf("a handler before the gate believed the client: %v", header)
			}
		})
	}
}

func TestAttack09_ThePrefixesOfAllGatesAreStrippedOnTheWholeSite(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: openAndGated["several gates"]})
	_, key := e.issue(engine.IssueRequest{})
	for _, path := range []string{"/gated/", "/other/", "/open/"} {
		header := e.get(path, "Authorization", "Bearer "+key, "X-One-Actor", "root", "X-Two-Actor", "root",
			"X-Three-Actor", "kept").seen(t).Header
		for _, name := range []string{"X-One-Actor", "X-Two-Actor"} {
			if header.Get(name) == "root" {
				t.Errorf("%s: the app sees %s of the client", path, name)
			}
		}
		if header.Get("X-Three-Actor") != "kept" {
			t.Errorf("%s: a header that is no gate's is gone", path)
		}
	}
}

// What a gate has set stays when the app fails and error routes ask another.
func TestTheIdentityOfAnAdmittedRequestReachesErrorRoutes(t *testing.T) {
	e := startEdge(t, edgeConfig{
		Site: "talos_gate\nreverse_proxy 127.0.0.1:" + portOf(freeport.Addr(t)) +
			"\nhandle_errors {\nreverse_proxy BACKEND\n}",
	})
	_, key := e.issue(engine.IssueRequest{})
	header := e.get("/", append(forgedIdentity, "Authorization", "Bearer "+key)...).seen(t).Header
	if got := header["X-Talos-Actor"]; len(got) != 1 || got[0] != "someone" {
		t.Errorf("the error route's app sees %v", header)
	}
	e.wantNoIdentity("/")
}

// A site on the same listener that has no gate gets its headers as they are: they may come from a site that has one.
func TestASiteWithoutAGateKeepsItsHeaders(t *testing.T) {
	port := portOf(freeport.Addr(t))
	site := func(host, directives string) string {
		return "http://" + host + ":" + port + " {\nbind 127.0.0.1\n" + directives + "\n}\n"
	}
	e := startEdge(t, edgeConfig{
		Sites: site("open.localhost", "reverse_proxy BACKEND") +
			site("gated.localhost", "handle /gated/* {\ntalos_gate {\nidentity X-One-\n}\n}\nreverse_proxy BACKEND") +
			site("other.localhost", "talos_gate /gated/*\nreverse_proxy BACKEND") +
			site("third.localhost", "talos_gate /gated/*\nreverse_proxy BACKEND"),
	})
	for host, want := range map[string][]string{
		"open.localhost":  {"X-One-Actor", "X-Talos-Actor", "X-Two-Actor"},
		"gated.localhost": {"X-Two-Actor"},
		"other.localhost": {"X-One-Actor", "X-Two-Actor"},
		"third.localhost": {"X-One-Actor", "X-Two-Actor"},
		"GATED.localhost": {"X-Two-Actor"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+"/open/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host + ":" + port
		req.Header = http.Header{"X-One-Actor": {"a"}, "X-Two-Actor": {"b"}, "X-Talos-Actor": {"c"}}
		res, err := e.client.Do(req) //nolint:bodyclose // readAnswer closes it
		if err != nil {
			t.Fatal(err)
		}
		header := readAnswer(t, res).seen(t).Header
		for _, name := range []string{"X-One-Actor", "X-Talos-Actor", "X-Two-Actor"} {
			if passed := header.Get(name) != ""; passed != strings.Contains(strings.Join(want, " "), name) {
				t.Errorf("%s: %s passed: %t", host, name, passed)
			}
		}
	}
}

// A configuration that is written as JSON needs nothing for it, also where a site is several routes.
func TestAttack09_AJSONConfigurationStripsOnTheWholeSite(t *testing.T) {
	e := startEdge(t, edgeConfig{})
	addr := freeport.Addr(t)
	const host = `"match":[{"host":["a.localhost"]}]`
	proxy := fmt.Sprintf(`{"handler":"reverse_proxy","upstreams":[{"dial":%q}]}`, e.backend.addr())
	config := fmt.Sprintf(`{"admin":{"disabled":true},
		"storage":{"module":"file_system","root":"%[4]s/caddy"},
		"apps":{"talos":{"storage":"sqlite://%[4]s/talos.db","hmac_secret":%[5]q},"http":{"servers":{"s":{
			"listen":[%[1]q],"automatic_https":{"disable":true},"routes":[
			{"match":[{"host":["a.localhost"],"path":["/open/*"]}],"handle":[%[3]s],"terminal":true},
			{%[2]s,"handle":[{"handler":"talos_gate"}]},
			{%[2]s,"handle":[%[3]s]},
			{"match":[{"host":["b.localhost"]}],"handle":[%[3]s]}
		]}}}}}`, addr, host, proxy, filepath.ToSlash(e.folder), testSecret)
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"a.localhost": false, "b.localhost": true} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/open/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("X-Talos-Actor", "root")
		res, err := e.client.Do(req) //nolint:bodyclose // readAnswer closes it
		if err != nil {
			t.Fatal(err)
		}
		if passed := readAnswer(t, res).seen(t).Header.Get("X-Talos-Actor") != ""; passed != want {
			t.Errorf("%s: the header passed: %t", host, passed)
		}
	}
}

// The identity headers of one gate are stripped from the requests of the other, too.
func TestAnIdentityPrefixMustNotCoverTheCredentialOfAnotherGate(t *testing.T) {
	const (
		one = "talos_gate /one/* {\nidentity X-Api-\n}\n"
		two = "talos_gate /two/* {\nfrom header X-Api-Key\n}\n"
	)
	for name, site := range map[string]string{"the prefix first": one + two, "the credential first": two + one} {
		t.Run(name, func(t *testing.T) {
			e := startEdge(t, edgeConfig{})
			err := e.tryLoad(edgeConfig{Site: site + "reverse_proxy BACKEND"})
			if err == nil || !strings.Contains(err.Error(), `the prefix "X-Api-" covers the header X-Api-Key`) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// loadWarning is a line of the default log that tells an operator at load what to change.
type loadWarning struct{ Level, Logger, Msg, Handler, Allow string }

// loadWarnings loads a configuration and returns what its modules warn of.
func loadWarnings(t *testing.T, conf edgeConfig) []loadWarning {
	t.Helper()
	conf.Global += "\nlog default {\noutput file FOLDER/default.log\nformat json\n}"
	e := startEdge(t, conf)
	var found []loadWarning
	for _, line := range e.logLines("default.log") {
		var w loadWarning
		if err := json.Unmarshal([]byte(line), &w); err != nil {
			t.Fatal(err)
		}
		if w.Level == "warn" && strings.HasPrefix(w.Logger, "http.handlers.talos_") {
			found = append(found, w)
		}
	}
	return found
}

func TestAGateBehindAHandlerThatAnswersEverythingIsWarnedOf(t *testing.T) {
	for site, want := range map[string]string{
		"route {\nreverse_proxy BACKEND\ntalos_gate\n}":                                         "reverse_proxy",
		"route {\nrespond hello\ntalos_gate\nreverse_proxy BACKEND\n}":                          "static_response",
		"route {\nfile_server\ntalos_gate\n}":                                                   "file_server",
		"route {\nerror 404\ntalos_gate\n}":                                                     "error",
		"route {\nhandle {\nreverse_proxy BACKEND\n}\ntalos_gate\n}":                            "reverse_proxy",
		"route {\nreverse_proxy BACKEND\nroute /a/* {\ntalos_gate\n}\n}":                        "reverse_proxy",
		"route {\nreverse_proxy /a/* BACKEND\ntalos_gate\nreverse_proxy BACKEND\n}":             "",
		"route {\nfile_server {\npass_thru\n}\ntalos_gate\nrespond hello\n}":                    "",
		"route {\nrespond 103\ntalos_gate\nrespond hello\n}":                                    "",
		"respond hello\ntalos_gate":                                                             "",
		"handle /a/* {\nrespond hello\n}\nhandle {\ntalos_gate\n}\nrespond hello":               "",
		"route {\n@a path /a\nhandle @a {\nrespond a\n}\nhandle {\nrespond b\n}\n}\ntalos_gate": "",
	} {
		t.Run(site, func(t *testing.T) {
			got := loadWarnings(t, edgeConfig{Site: site})
			switch {
			case want == "" && len(got) > 0:
				t.Errorf("warned of %+v", got)
			case want != "" && (len(got) != 1 || got[0].Handler != want || !strings.Contains(got[0].Msg, "before it")):
				t.Errorf("got %+v, expected a warning of %s", got, want)
			}
		})
	}
}

func TestAGateInANamedRouteIsWarnedOf(t *testing.T) {
	got := loadWarnings(t, edgeConfig{
		Site: "reverse_proxy BACKEND",
		Sites: "&(gated) {\ntalos_gate\n}\nhttp://:" + portOf(freeport.Addr(t)) +
			" {\nbind 127.0.0.1\ninvoke /gated/* gated\nrespond open\n}",
	})
	if len(got) != 1 || !strings.Contains(got[0].Msg, "request_header") {
		t.Errorf("got %+v", got)
	}
}

func TestAnAdminSurfaceForEveryoneIsWarnedOf(t *testing.T) {
	for allow, want := range map[string]string{
		"0.0.0.0/0": "0.0.0.0/0", "10.0.0.0/8 ::/0": "::/0", "10.0.0.0/8": "", "private_ranges": "",
	} {
		t.Run(allow, func(t *testing.T) {
			got := loadWarnings(t, edgeConfig{
				Sites: "http://:" + portOf(freeport.Addr(t)) +
					" {\nbind 127.0.0.1\ntalos_admin {\nallow " + allow + "\n}\n}",
			})
			if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || got[0].Allow != want) {
				t.Errorf("allow %s: got %+v", allow, got)
			}
		})
	}
}
