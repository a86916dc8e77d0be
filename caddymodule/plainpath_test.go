package caddymodule_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/gate"
	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
)

// exempting is a site that exempts /public/* from its gate, by the matchers that follow.
func exempting(matchers string) string {
	return fmt.Sprintf(`
		@open {
			path /public/*
			%s
		}
		@gated not {
			path /public/*
			%s
		}
		talos_gate @gated
		reverse_proxy BACKEND`, matchers, matchers)
}

// foldings are what apps and the servers before them do to a path.
var foldings = []func(string) string{
	func(s string) string { return percent.ReplaceAllStringFunc(s, unescape) },
	func(s string) string { return percentU.ReplaceAllStringFunc(s, unescapeU) },
	func(s string) string { return parameters.ReplaceAllString(s, "") },
	func(s string) string { return controls.ReplaceAllString(s, "") },
	func(s string) string { return strings.NewReplacer("\xc0\xae", ".", "\xc0\xaf", "/").Replace(s) },
	func(s string) string {
		return strings.NewReplacer("．", ".", "／", "/", "․", ".", "∕", "/").Replace(s)
	},
	func(s string) string { return strings.ReplaceAll(s, `\`, "/") },
	func(s string) string { return dots.ReplaceAllString(s, "/..$1") },
	func(s string) string { before, _, _ := strings.Cut(s, "\x00"); return before },
	func(s string) string { before, _, _ := strings.Cut(s, "#"); return before },
	func(s string) string { before, _, _ := strings.Cut(s, "?"); return before },
	path.Clean,
	strings.ToLower,
}

var (
	percent    = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	percentU   = regexp.MustCompile(`%u[0-9A-Fa-f]{4}`)
	parameters = regexp.MustCompile(`;[^/]*`)
	controls   = regexp.MustCompile("[\x00-\x20\x7f]|\u00a0")
	dots       = regexp.MustCompile(`/\.{2,}[. ]*(/|$)`)
)

func unescape(s string) string {
	n, _ := strconv.ParseUint(s[1:], 16, 8)
	return string([]byte{byte(n)})
}

func unescapeU(s string) string {
	n, _ := strconv.ParseUint(s[2:], 16, 16)
	return string(rune(n))
}

// readings are what a path may come to by any foldings in any order, up to a bound.
func readings(p string) []string {
	found, seen := []string{p}, map[string]bool{p: true}
	for i := 0; i < len(found) && len(found) < 300; i++ {
		for _, fold := range foldings {
			if s := fold(found[i]); !seen[s] {
				seen[s] = true
				found = append(found, s)
			}
		}
	}
	return found
}

// escapes returns a reading of a request target that leads out of what is exempt.
func escapes(target string) (reading string, out bool) {
	target, _, _ = strings.Cut(target, "?")
	for _, s := range readings(target) {
		if !strings.HasPrefix(path.Clean(strings.ToLower(s))+"/", "/public/") {
			return s, true
		}
	}
	return "", false
}

// spelled sends request targets as they are over one connection.
type spelled struct {
	t    *testing.T
	addr string
	conn net.Conn
	r    *bufio.Reader
}

func (s *spelled) get(target string) (status int, body string) {
	s.t.Helper()
	if s.conn == nil {
		var dialer net.Dialer
		conn, err := dialer.DialContext(s.t.Context(), "tcp", s.addr)
		if err != nil {
			s.t.Fatal(err)
		}
		s.conn, s.r = conn, bufio.NewReader(conn)
	}
	if err := s.conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(s.conn, "GET "+target+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	res, err := http.ReadResponse(s.r, nil) //nolint:bodyclose // readAnswer closes it
	if err != nil {
		s.t.Fatalf("%q: %v", target, err)
	}
	got := readAnswer(s.t, res)
	if res.Close {
		s.close()
	}
	return got.status, got.body
}

func (s *spelled) close() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// pathSpellings are the spellings that are tried in every run, here and on Caddyfile.example.
func pathSpellings(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/path_spellings.txt")
	if err != nil {
		t.Fatal(err)
	}
	list := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(list) < 100 {
		t.Fatalf("%d spellings", len(list))
	}
	return list
}

// madeUp makes a spelling of a path.
func madeUp(random *rand.Rand) string {
	pieces := []string{
		"/", "/", "/", "//", `\`, "%2f", "%5C", "%252f", "%c0%af", "%ef%bc%8f", "..", "..", ".", "...",
		"%2e", "%2E%2e", "%252e",
		"%c0%ae", "%u002e", "%ef%bc%8e", "．", ";", ";x=1", "%3b", "%00", "%0a", "%20", "%09", "#", "?", "%3f",
		"%23", "+", ":", "~",
		"public", "Public", "%70ublic", "orders", "x", "|", "@", "=", "&", ",", "$", "!",
	}
	var b strings.Builder
	b.WriteString([]string{"/public/", "/public/", "/public", "/", "//public/", "/x/../public/"}[random.IntN(6)])
	for range 1 + random.IntN(8) {
		b.WriteString(pieces[random.IntN(len(pieces))])
	}
	if random.IntN(2) == 0 {
		b.WriteString("/orders")
	}
	return b.String()
}

// A gate that exempts a path by name is open to every spelling of another path that begins like it and that the app
// folds. talos_plain_path exempts only what has one reading.
func TestAttack13_NoSpellingOfAGatedPathPassesAnExemption(t *testing.T) {
	byPathAlone := freeport.Addr(t)
	e := startEdge(t, edgeConfig{
		Site:  exempting("talos_plain_path"),
		Sites: "http://:" + portOf(byPathAlone) + " {\nbind 127.0.0.1\n" + exempting("") + "\n}",
	})
	client := &spelled{t: t, addr: e.addr}
	t.Cleanup(client.close)
	count, passed := 3000, 0
	if os.Getenv("TALOS_LONG") != "" {
		count = 30000
	}
	try := func(target string) {
		status, body := client.get(target)
		if status != http.StatusOK {
			return
		}
		passed++
		sent := strings.TrimPrefix(target, "http://x")
		for _, seenTarget := range []string{sent, answer{status, nil, body}.seen(t).URI} {
			if reading, out := escapes(seenTarget); out {
				t.Errorf("%q passed; an app may read %q as %q", target, seenTarget, reading)
			}
		}
	}
	for _, target := range pathSpellings(t) {
		try(target)
	}
	if passed > 0 {
		t.Errorf("%d spellings of the list passed", passed)
	}
	random := rand.New(rand.NewPCG(8, 17))
	for range count {
		try(madeUp(random))
	}
	for _, target := range []string{
		"/public/", "/public/x", "/public/a.b/c-d_e~f", "/public/.well-known/x", "/public/x?a=../b;c", "/PUBLIC/x",
	} {
		if status, _ := client.get(target); status != http.StatusOK {
			t.Errorf("%s, which has one reading: %d", target, status)
		}
	}
	if passed < 10 {
		t.Errorf("%d spellings passed: little was tried", passed)
	}
	if status, _ := client.get("/orders"); status != http.StatusUnauthorized {
		t.Errorf("/orders: %d", status)
	}

	// The same list finds its way where the path alone is exempt.
	client = &spelled{t: t, addr: byPathAlone}
	t.Cleanup(client.close)
	escaped := 0
	for _, target := range pathSpellings(t) {
		if status, body := client.get(target); status == http.StatusOK {
			if _, out := escapes((answer{status, nil, body}).seen(t).URI); out {
				escaped++
			}
		}
	}
	if escaped < 20 {
		t.Errorf("only %d spellings pass where the path alone is exempt: the list tries nothing", escaped)
	}
}

// Behind a rewrite the app may see the path that it makes or the one that the client sent.
func TestPlainPath_JudgesThePathAsSentAndAsRewritten(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sent, rewritten string
		want            bool
	}{
		{"/public/x", "", true},
		{"/", "", true},
		{"/public/", "", true},
		{"/public/...a/b..", "", true},
		{"/public/x", "/x", true},
		{"/public/x", "/x/..;/y", false},
		{"/public/x", "/x/%2e%2e/y", false},
		{"/public/..;/x", "/public/x", false},
		{"/public/%2e%2e/x", "/public/x", false},
		{"*", "", false},
		{"http://h", "", false},
		{"http://h/public/x", "", true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		var err error
		if r.URL, err = url.ParseRequestURI(tc.sent); err != nil {
			t.Fatal(err)
		}
		r.RequestURI = tc.sent
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, &caddyhttp.Server{})
		if tc.rewritten != "" {
			if r.URL, err = url.ParseRequestURI(tc.rewritten); err != nil {
				t.Fatal(err)
			}
		}
		got, err := gate.PlainPath{}.MatchWithError(r)
		if got != tc.want || err != nil {
			t.Errorf("%s, rewritten to %q: %t %v, want %t", tc.sent, tc.rewritten, got, err, tc.want)
		}
	}
	opaque := httptest.NewRequest(http.MethodGet, "/", nil)
	opaque.URL = &url.URL{Opaque: "/public/../orders", Path: "/public/x"}
	opaque = caddyhttp.PrepareRequest(opaque, caddy.NewReplacer(), nil, &caddyhttp.Server{})
	if got, _ := (gate.PlainPath{}).MatchWithError(opaque); got {
		t.Error("an opaque URL")
	}
	if got, _ := (gate.PlainPath{}).MatchWithError(httptest.NewRequest(http.MethodGet, "/public/x", nil)); got {
		t.Error("a request of which nobody knows what was sent")
	}
}
