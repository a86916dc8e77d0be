package command

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// everyCall is a command for each call of the API.
func everyCall(t *testing.T) map[string][]string {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(keys, []byte(keysJSON(2)), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string][]string{
		"issue":           {"keys", "issue", "n", "--actor", "a"},
		"issue again":     {"keys", "issue", "n", "--actor", "a", "--request-id", "r"},
		"list issued":     {"keys", "list"},
		"list imported":   {"keys", "imported", "list"},
		"list all":        {"keys", "list", "--all", "-q"},
		"get issued":      {"keys", "get", testKeyID},
		"get imported":    {"keys", "get", testImportedID},
		"update":          {"keys", "update", testKeyID, "--name", "x"},
		"update a limit":  {"keys", "update", testKeyID, "--rate-limit-quota", "5"},
		"rotate":          {"keys", "rotate", testKeyID},
		"revoke":          {"keys", "revoke", testKeyID},
		"delete":          {"keys", "delete", testImportedID},
		"import":          {"keys", "imported", "import", "n", "--raw-key", "k", "--actor", "a"},
		"batch-import":    {"keys", "imported", "batch-import", "--file", keys},
		"verify":          {"keys", "verify", testSecret},
		"batch-verify":    {"keys", "batch-verify", testSecret, "x"},
		"derive-token":    {"keys", "derive-token", testSecret},
		"self-revoke":     {"keys", "self-revoke", testSecret},
		"the public keys": {"jwk", "get"},
		"events":          {"events", "list"},
		"new events":      {"events", "watch"},
		"edges":           {"edges"},
	}
}

func TestAnAnswerThatIsNotThisAPIsIsAnErrorThatNamesTheEndpoint(t *testing.T) {
	t.Parallel()
	const echo = "what-the-server-sent"
	foreign := map[string]http.HandlerFunc{
		"a web page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>"+echo+"</html>")
		},
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"another API's object": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"`+echo+`":true,"keys_of":"x"}`)
		},
		"an empty object": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{}`)
		},
		"an array": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `["`+echo+`"]`)
		},
		"null": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `null`)
		},
		"JSON that says it is text": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, validJSON)
		},
		"a redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://"+echo+".example/")
			w.WriteHeader(http.StatusFound)
		},
		"HTTP 501": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotImplemented)
			_, _ = io.WriteString(w, echo)
		},
		"not found": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "404 "+echo)
		},
	}
	for answer, handler := range foreign {
		srv := httptest.NewServer(handler)
		t.Cleanup(srv.Close)
		for name, args := range everyCall(t) {
			// The API's own answer to some calls is {}: these cannot be distinguished.
			if answer == "an empty object" && (name == "revoke" || name == "delete" || name == "self-revoke" ||
				strings.HasPrefix(name, "list")) ||
				answer == "another API's object" && (name == "revoke" || name == "delete" || name == "self-revoke") {
				continue
			}
			stdout, stderr, err := runTree(t.Context(), "", append(args, "-e", srv.URL)...)
			if err == nil || stdout != "" {
				t.Errorf("%s, answered by %s: %v, printed %q", name, answer, err, stdout)
				continue
			}
			if !strings.Contains(stderr, srv.URL) || !strings.Contains(stderr, "not one of the v2alpha1 API") ||
				strings.Contains(stderr, echo) || strings.Contains(stderr, testSecret) {
				t.Errorf("%s, answered by %s: %s", name, answer, stderr)
			}
		}
	}
}

func TestAProxyThatCannotReachTheServerIsNotTakenForAnother(t *testing.T) {
	t.Parallel()
	endpoint, _ := stub(t, reply{http.StatusBadGateway, "<html>"})
	_, stderr, err := runTree(t.Context(), "", "keys", "verify", testSecret, "-e", endpoint)
	if err == nil || !strings.Contains(stderr, endpoint+": the server answered 502") ||
		strings.Contains(stderr, "not one of the v2alpha1 API") {
		t.Errorf("%v: %s", err, stderr)
	}
}

func TestAnEndpointWithoutASchemeIsOfThisMachine(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"localhost:4420":          "http://localhost:4420",
		"localhost":               "http://localhost",
		"127.0.0.1:1/x":           "http://127.0.0.1:1/x",
		"[::1]:4420":              "http://[::1]:4420",
		"https://example.com":     "https://example.com",
		"unix:///run/x.sock":      "unix:///run/x.sock",
		"example.com:4420":        "",
		"10.0.0.1:4420":           "",
		"localhost.example.com:1": "",
		"user:secret@example.com": "",
		":4420":                   "",
	} {
		got, err := (&options{endpoint: given}).address()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", given, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "https://") || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%q: %v", given, err)
		}
	}
	if got := (&options{endpoint: "http://me:secret@localhost:1"}).endpointName(); strings.Contains(got, "secret") {
		t.Errorf("a password is named: %s", got)
	}
}

func TestACallEndsAfterItsTimeout(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	_, stderr, err := runTree(t.Context(), "", "keys", "list", "-e", srv.URL, "--timeout", "20ms")
	if err == nil || !strings.Contains(stderr, "no answer within 20ms; --timeout allows more") {
		t.Errorf("%v: %s", err, stderr)
	}
	for _, bad := range []string{"0", "-1s", "soon"} {
		if _, _, err := runTree(t.Context(), "", "keys", "list", "-e", srv.URL, "--timeout", bad); err == nil ||
			!strings.Contains(err.Error(), "--timeout") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if flag := tree().Commands()[1].PersistentFlags().Lookup("timeout"); flag != nil && flag.DefValue != "30s" {
		t.Errorf("the default is %s", flag.DefValue)
	}
}

func TestTimesAreDistancesOnATerminalOnly(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for after, want := range map[time.Duration]string{
		0:                          "now",
		-time.Second:               "1 second ago",
		-3 * time.Minute:           "3 minutes ago",
		-119 * time.Minute:         "2 hours ago",
		-50 * time.Hour:            "2 days ago",
		90*24*time.Hour - 1:        "in 3 months",
		800 * 24 * time.Hour:       "in 2 years",
		300 * time.Second:          "in 5 minutes",
		-20 * 365 * 24 * time.Hour: "20 years ago",
	} {
		if got := (times{now}).at(now.Add(after)); got != want {
			t.Errorf("%s: %q, want %q", after, got, want)
		}
	}
	if got := (times{}).at(now); got != "2026-01-02T03:04:05Z" {
		t.Errorf("in a pipe: %q", got)
	}
	if got := (times{now}).expiry(time.Time{}); got != "never" {
		t.Errorf("without an end: %q", got)
	}
}
