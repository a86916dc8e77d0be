package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

// told is what a line of an access log says of a gate's decision: the gate's object, and what log_append makes of the
// placeholders.
type told struct {
	Status  int
	Request struct{ URI string }
	Talos   *struct {
		Decision, Reason, Cache string
		KeyID                   string `json:"key_id"`
	}
	Decision, Reason, Key, Cache string // by placeholders
}

// placed is what the placeholders say.
func (l *told) placed() string {
	return strings.Join([]string{l.Decision, l.Reason, l.Key, l.Cache}, "|")
}

// text is a decision in one line: as the object has it, and as the placeholders do.
func (l *told) text() string {
	if l.Talos == nil {
		return "nothing"
	}
	o := l.Talos
	return strings.Join([]string{o.Decision, o.Reason, o.KeyID, o.Cache}, "|")
}

// accessLog stops Caddy, so that every line is written, and reads the access log.
func (e *edge) accessLog() []told {
	e.t.Helper()
	if err := caddy.Stop(); err != nil {
		e.t.Fatal(err)
	}
	var lines []told
	for _, line := range e.logLines("access.log") {
		var l told
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			e.t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, l)
	}
	return lines
}

// byURI are the lines by the URI of their requests.
func byURI(lines []told) map[string]told {
	by := map[string]told{}
	for _, l := range lines {
		by[l.Request.URI] = l
	}
	return by
}

// loggedSite logs to access.log in a format, and appends the placeholders to each line.
func loggedSite(format, site string) string {
	return "log {\noutput file FOLDER/access.log\n" + format + "\n}\n" +
		"log_append decision {http.talos.decision}\nlog_append reason {http.talos.reason}\n" +
		"log_append key {http.talos.key_id}\nlog_append cache {http.talos.cache}\n" + site
}

// cached are the words for a verdict that was looked up once: a cache may lose it, so which one it is depends on luck.
var cached = strings.NewReplacer("|hit", "|miss", "|negative", "|miss")

// decidedSite has a gate for each reason.
const decidedSite = `
	@open path /open/*
	handle @open {
		reverse_proxy BACKEND
	}
	handle /optional/* {
		talos_gate {
			optional
		}
		reverse_proxy BACKEND
	}
	handle /scoped/* {
		talos_gate {
			scopes orders:read
		}
		reverse_proxy BACKEND
	}
	handle /public/* {
		talos_gate {
			visibility public
		}
		reverse_proxy BACKEND
	}
	handle /twice/* {
		talos_gate
		route {
			talos_gate /twice/strict {
				scopes orders:read
			}
			reverse_proxy BACKEND
		}
	}
	handle {
		talos_gate
		reverse_proxy BACKEND
	}`

func TestTheAccessLogHasEachDecisionAndItsReason(t *testing.T) {
	for name, format := range map[string]string{
		"json": "format json", "talos_redact": "format talos_redact json",
		"filter": "format filter {\nrequest>headers delete\n}",
	} {
		for _, errorRoutes := range []string{"", "\nhandle_errors {\nrespond refused\n}"} {
			t.Run(name+strings.ReplaceAll(errorRoutes, "\n", " "), func(t *testing.T) {
				testDecisionsInTheLog(t, loggedSite(format, decidedSite+errorRoutes))
			})
		}
	}
}

func testDecisionsInTheLog(t *testing.T, site string) {
	t.Helper()
	e := startEdge(t, edgeConfig{Site: site})
	bearer := func(credential string) []string { return []string{"Authorization", "Bearer " + credential} }
	goodID, good := e.issue(engine.IssueRequest{})
	revokedID, revoked := e.issue(engine.IssueRequest{})
	e.revoke(revokedID)
	expired := e.store(core.Key{ExpireTime: time.Now().Add(-time.Minute)})
	farID, far := e.issue(engine.IssueRequest{AllowedCIDRs: cidrs(t, "203.0.113.0/24")})
	limitedID, limited := e.issue(engine.IssueRequest{
		RateLimit: core.RateLimitPolicy{Quota: 1, Window: time.Hour},
	})
	_, unseen := e.issue(engine.IssueRequest{})
	want := map[string]string{}
	ask := func(path string, status int, decision string, header ...string) {
		t.Helper()
		uri := fmt.Sprintf("%s?n=%d", path, len(want))
		want[uri] = fmt.Sprintf("%d %s", status, decision)
		if got := e.get(uri, header...); got.status != status {
			t.Errorf("%s: status %d, want %d: %s", uri, got.status, status, got.body)
		}
	}
	ask("/", 200, "admitted|ok|"+goodID+"|miss", bearer(good)...)
	ask("/", 200, "admitted|ok|"+goodID+"|miss", bearer(good)...)
	ask("/optional/", 200, "passed|no_credential||")
	ask("/optional/", 401, "refused|malformed||", "Authorization", "Bearer")
	ask("/open/", 200, "nothing")
	ask("/", 401, "refused|no_credential||")
	ask("/", 400, "refused|ambiguous||", append(bearer(good), bearer(good)...)...)
	ask("/", 401, "refused|malformed||", "Authorization", "Bearer")
	ask("/", 401, "refused|invalid||", bearer(good[:len(good)-4]+"1111")...)
	ask("/", 401, "refused|invalid||miss", bearer("sk_live_4242")...)
	ask("/", 401, "refused|invalid||miss", bearer("sk_live_4242")...)
	ask("/", 401, "refused|revoked|"+revokedID+"|miss", bearer(revoked)...)
	ask("/", 401, "refused|revoked|"+revokedID+"|miss", bearer(revoked)...)
	ask("/", 401, "refused|expired|ID|miss", bearer(expired)...)
	ask("/scoped/", 403, "refused|scope|"+goodID+"|miss", bearer(good)...)
	ask("/public/", 403, "refused|visibility|"+goodID+"|miss", bearer(good)...)
	ask("/", 403, "refused|ip|"+farID+"|miss", bearer(far)...)
	ask("/", 200, "admitted|ok|"+limitedID+"|miss", bearer(limited)...)
	ask("/", 429, "refused|rate_limited|"+limitedID+"|miss", bearer(limited)...)
	ask("/twice/", 200, "admitted|ok|"+goodID+"|miss", bearer(good)...)
	ask("/twice/strict", 403, "refused|scope|"+goodID+"|miss", bearer(good)...)
	if err := e.node().Store.Close(); err != nil {
		t.Fatal(err)
	}
	ask("/", 503, "unavailable|unavailable||", bearer(unseen)...)

	lines := byURI(e.accessLog())
	for uri, want := range want {
		l, ok := lines[uri]
		if !ok {
			t.Errorf("%s is not in the log", uri)
			continue
		}
		got := cached.Replace(l.text())
		if strings.Contains(want, "|ID|") && l.Talos != nil && l.Talos.KeyID != "" {
			got = strings.Replace(got, l.Talos.KeyID, "ID", 1)
		}
		if got = fmt.Sprintf("%d %s", l.Status, got); got != want {
			t.Errorf("%s: got %s, want %s", uri, got, want)
		}
		if l.Talos != nil && l.placed() != l.text() || l.Talos == nil && l.placed() != "|||" {
			t.Errorf("%s: the placeholders say %s, the object %s", uri, l.placed(), l.text())
		}
	}
}

// A gate behind an optional one that found no credential logs its own decision.
func TestTheLastDecisionIsLogged(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: loggedSite("", `
		route {
			talos_gate {
				optional
			}
			request_header /late/* Authorization "Bearer {http.request.uri.query.key}"
			talos_gate
			reverse_proxy BACKEND
		}`)})
	id, key := e.issue(engine.IssueRequest{})
	e.get("/none")
	e.get("/late/?key=" + key)
	lines := byURI(e.accessLog())
	for uri, want := range map[string]string{
		"/none": "refused|no_credential||", "/late/?key=" + key: "admitted|ok|" + id + "|miss",
	} {
		if l := lines[uri]; l.text() != want || l.placed() != want {
			t.Errorf("%s: got %s and %s, want %s", uri, l.text(), l.placed(), want)
		}
	}
}

// A stream that was closed for its key is logged as refused, with the status that it began with.
func TestTheAccessLogSaysWhyAStreamWasClosed(t *testing.T) {
	app := streamingApp(t)
	e := startEdge(t, edgeConfig{
		Site: loggedSite("", "talos_gate {\nrecheck 1s\n}\nreverse_proxy "+app),
	})
	id, key := e.issue(engine.IssueRequest{})
	goodID, good := e.issue(engine.IssueRequest{})
	open := events(t, e.client, e.addr, key)
	socket := upgrade(t, e.addr, key)
	finished := events(t, e.client, e.addr, good)
	e.revoke(id)
	open.ended(t)
	socket.ended(t)
	finished.end()
	var lines []string
	for _, l := range e.accessLog() {
		lines = append(lines, fmt.Sprintf("%s %d %s", l.Request.URI, l.Status, l.text()))
	}
	for _, want := range []string{
		"/sse 200 refused|revoked|" + id + "|",
		"/ws 101 refused|revoked|" + id + "|",
		"/sse 200 admitted|ok|" + goodID + "|miss",
	} {
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("no line begins with %s: %q", want, lines)
		}
	}
}
