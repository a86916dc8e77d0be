package caddymodule_test

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/core/engine"
)

const takesFromEverywhere = `talos_gate {
	from header Authorization Bearer
	from header X-Api-Key
	from query api_key
	from cookie key
	KEEP
}
reverse_proxy BACKEND`

// redactConf logs requests in a format, with whatever Caddy would hide by itself, to default.log and access.log.
func redactConf(format, keep string) edgeConfig {
	return edgeConfig{
		Global: "servers {\nlog_credentials\nexpected_underscore_headers X_api_key\n}\n" +
			"log default {\nlevel DEBUG\noutput file FOLDER/default.log\n" + format + "\n}",
		Site: "log {\nlevel DEBUG\noutput file FOLDER/access.log\n" + format + "\n}\n" +
			// Before the gate: responses and errors that tell the URL.
			"header Location \"/login?to={uri}\"\n" +
			"handle /error/* {\nerror \"no answer for {uri}\" 500\n}\n" +
			"handle {\n" + strings.ReplaceAll(takesFromEverywhere, "KEEP", keep) + "\n}",
	}
}

// showEverywhere sends a key in each place in which the gate of takesFromEverywhere looks, and as it would not.
func (e *edge) showEverywhere(key string) {
	e.t.Helper()
	escaped := url.QueryEscape(key)
	twice := url.QueryEscape(url.QueryEscape("/a?api_key=" + key + "&b"))
	for _, path := range []string{"/", "/error/"} {
		e.get(path, "Authorization", "Bearer "+key)
		e.get(path, "X-Api-Key", key)
		e.get(path, "X_api_key", key)
		e.get(path, "X.api.key", key)
		e.get(path, "Cookie", "a=b; key="+key+"; c=d")
		e.get(path+"?a=1&api_key="+key+"&b=2", "Referer", "http://localhost/?api_key="+key)
		e.get(path+"?API%5fKEY="+escaped, "Referer", "http://localhost/?a=1&%61pi_key="+escaped)
		e.get(path + "?to=" + twice + "&b=2")
		e.get(path + "?a=1;api_key=" + key)
		e.get(path+"?api_key="+key, "X-Api-Key", key, "Authorization", "Basic "+key)
	}
}

// searchLogs looks for a key in the logs, in all forms in which it may be written, and for the marks that say that the
// requests are there.
func (e *edge) searchLogs(key string, marks map[string][]string) {
	e.t.Helper()
	for name, wanted := range marks {
		body, err := os.ReadFile(filepath.Join(e.folder, name))
		if err != nil {
			e.t.Fatal(err)
		}
		for _, mark := range wanted {
			if !strings.Contains(string(body), mark) {
				e.t.Errorf("%s has no %s, so not everything was searched", name, mark)
			}
		}
		for form, spelled := range spellings(key) {
			if at := strings.Index(string(body), spelled); at >= 0 {
				e.t.Errorf("%s has the key (%s): %.700s", name, form, body[max(0, at-400):])
				break
			}
		}
	}
}

// TestRedactedLogsShowNoCredential runs each format with the app up and down, with the credential stripped and kept.
func TestRedactedLogsShowNoCredential(t *testing.T) {
	for name, format := range map[string]string{
		"default":  "format talos_redact",
		"json":     "format talos_redact json",
		"console":  "format talos_redact console",
		"block":    "format talos_redact {\nwrap json {\ntime_format iso8601\n}\n}",
		"filter":   "format talos_redact filter {\nrequest>remote_port delete\n}",
		"filtered": "format filter {\nwrap talos_redact json\nrequest>remote_port delete\n}",
		"append":   "format append {\nwrap talos_redact\nsite a\n}",
		"journald": "format talos_redact journald",
	} {
		t.Run(name, func(t *testing.T) {
			e := startEdge(t, redactConf(format, ""))
			_, key := e.issue(engine.IssueRequest{})
			e.showEverywhere(key)
			e.load(redactConf(format, "keep_credential"))
			e.showEverywhere(key)
			e.backend.server.Close()
			e.showEverywhere(key)
			if err := caddy.Stop(); err != nil {
				t.Fatal(err)
			}
			e.searchLogs(key, map[string][]string{
				"access.log": {
					"handled request", "api_key=REDACTED", "a=b; key=REDACTED; c=d", "X_api_key", "/login?to=",
				},
				"default.log": {
					"upstream roundtrip", "connection refused", "no answer for /error/", "api_key=REDACTED",
				},
			})
		})
	}
}

// TestSourceOfEarlierConfigurationStaysRedacted is about requests that a reload finds under way: they are logged when
// the gate that took their credential is gone.
func TestSourceOfEarlierConfigurationStaysRedacted(t *testing.T) {
	conf := redactConf("format talos_redact json", "")
	e := startEdge(t, conf)
	_, key := e.issue(engine.IssueRequest{})
	conf.Site = "log {\noutput file FOLDER/access.log\nformat talos_redact json\n}\nrespond late"
	e.load(conf)
	e.showEverywhere(key)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	e.searchLogs(key, map[string][]string{"access.log": {"api_key=REDACTED", `"X-Api-Key":["REDACTED"]`}})
}

// warning is a line of the default log that says that a log shows credentials.
type warning struct {
	Level, Logger, Msg, Log, Paste string
	Credentials                    []string
}

// warnings are those that were written since the last call.
func (e *edge) warnings(read *int) []warning {
	e.t.Helper()
	body, err := os.ReadFile(filepath.Join(e.folder, "default.log"))
	if err != nil {
		e.t.Fatal(err)
	}
	var found []warning
	for line := range strings.Lines(string(body[*read:])) {
		var w warning
		if json.Unmarshal([]byte(line), &w) == nil && w.Paste != "" {
			found = append(found, w)
		}
	}
	*read = len(body)
	slices.SortFunc(found, func(a, b warning) int { return strings.Compare(a.Log, b.Log) })
	return found
}

// TestLogThatShowsCredentialsIsNamedWithItsFilter loads a configuration whose logs have no format, pastes what
// the warnings say, and finds neither a warning nor a credential any more.
func TestLogThatShowsCredentialsIsNamedWithItsFilter(t *testing.T) {
	conf := func(ofDefault, ofAccess string) edgeConfig {
		c := redactConf("", "")
		c.Global = "log default {\noutput file FOLDER/default.log\n" + ofDefault + "\n}\n" +
			"log others {\noutput discard\n}"
		c.Site = "log {\noutput file FOLDER/access.log\n" + ofAccess + "\n}\n" +
			"handle /second/* {\ntalos_gate {\nfrom header X-Second-Key\n}\n}\n" +
			strings.ReplaceAll(takesFromEverywhere, "KEEP", "")
		c.Sites = "http://:" + port(freeport.Addr(t)) +
			" {\nbind 127.0.0.1\nlog {\noutput file FOLDER/ungated.log\n}\nrespond ungated\n}"
		return c
	}
	e := startEdge(t, conf("", ""))
	_, key := e.issue(engine.IssueRequest{})
	read := 0
	// Caddy hides Authorization and cookies.
	found := []string{"header X-Api-Key", "header X-Second-Key", "query api_key"}
	got := e.warnings(&read)
	if len(got) != 2 || got[0].Log != "default" || got[1].Log != "log0" {
		t.Fatalf("%+v", got)
	}
	for _, w := range got {
		if w.Level != "warn" || w.Logger != "talos" {
			t.Errorf("level and logger: %+v", w)
		}
		if !slices.Equal(w.Credentials, found) || !strings.HasPrefix(w.Paste, "format ") {
			t.Errorf("%+v", w)
		}
	}
	e.showEverywhere(key)
	body, err := os.ReadFile(filepath.Join(e.folder, "access.log"))
	if err != nil || !strings.Contains(string(body), key) {
		t.Fatalf("the access log does not show the key, so the warning was wrong (%v)", err)
	}

	// One of them is mended: the other is still named.
	e.load(conf("", got[1].Paste))
	if left := e.warnings(&read); len(left) != 1 || left[0].Log != "default" {
		t.Errorf("%+v", left)
	}
	for _, name := range []string{"default.log", "access.log"} {
		if err := os.Truncate(filepath.Join(e.folder, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	read = 0
	e.load(conf(got[0].Paste, got[1].Paste))
	if left := e.warnings(&read); len(left) != 0 {
		t.Errorf("%+v", left)
	}
	e.showEverywhere(key)
	e.backend.server.Close()
	e.showEverywhere(key)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	e.searchLogs(key, map[string][]string{
		"access.log": {"handled request", "REDACTED"}, "default.log": {"connection refused", "REDACTED"},
	})
}

// TestLogsThatShowNothingAreNotWarnedOf has the configurations in which nobody has to do anything, and those in which a
// part is left to do.
func TestLogsThatShowNothingAreNotWarnedOf(t *testing.T) {
	const (
		output = "output file FOLDER/default.log\n"
		filter = "format filter {\nrequest>headers>X-Api-Key delete\nrequest>uri query {\n" +
			"replace api_key REDACTED\n}\n}\n"
	)
	everywhere := strings.ReplaceAll(takesFromEverywhere, "KEEP", "")
	for name, c := range map[string]struct {
		global, site string
		want         []warning
	}{
		"Authorization alone": {"log {\n" + output + "}", "log\ntalos_gate\nreverse_proxy BACKEND", nil},
		"filters of Caddy":    {"log {\n" + output + filter + "}", "log\n" + everywhere, nil},
		"filters around ours": {
			"log {\n" + output + "format filter {\nwrap talos_redact\nrequest>uri delete\n}\n}",
			"log\n" + everywhere, nil,
		},
		"requests that go nowhere": {"log {\n" + output + "exclude http.log\n}", "log\n" + everywhere, nil},
		"a log of errors": { // Caddy takes them out of the default log then
			"log {\n" + output +
				"}\nlog more {\noutput file FOLDER/more.log\nformat console\ninclude http.log.error\n}",
			everywhere,
			[]warning{{Log: "http.log.error", Credentials: []string{"header X-Api-Key", "query api_key"}}},
		},
		"a log of everything": {
			"log {\n" + output + "format talos_redact\n}\nlog more {\noutput file FOLDER/more.log\nformat console\n}",
			"log\n" + everywhere,
			[]warning{{Log: "http.log.access", Credentials: []string{"header X-Api-Key", "query api_key"}}},
		},
		"a filter for a part": {
			"log {\n" + output + "format filter {\nrequest>headers>X-Api-Key hash\n}\n}", everywhere,
			[]warning{{Log: "default", Credentials: []string{"query api_key"}}},
		},
		"log_credentials": {
			"servers {\nlog_credentials\n}\nlog {\n" + output + "sampling {\nfirst 1\n}\n}",
			"log\ntalos_gate {\nfrom header Authorization Bearer\nfrom cookie key\n}\nreverse_proxy BACKEND",
			[]warning{{Log: "default", Credentials: []string{"cookie key", "header Authorization Bearer"}}},
		},
		"a log for each host": {
			"log {\n" + output + "}", "log one {\nhostnames a.localhost\noutput file FOLDER/one.log\n}\n" +
				"talos_gate {\nfrom header X-Api-Key\n}\nreverse_proxy BACKEND",
			[]warning{
				{Log: "default", Credentials: []string{"header X-Api-Key"}},
				{Log: "one", Credentials: []string{"header X-Api-Key"}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEdge(t, edgeConfig{Global: c.global, Site: c.site})
			read := 0
			got := e.warnings(&read)
			if !slices.EqualFunc(got, c.want, func(a, b warning) bool {
				return a.Log == b.Log && slices.Equal(a.Credentials, b.Credentials)
			}) {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func port(addr string) string {
	_, port, _ := strings.Cut(addr, ":")
	return port
}
