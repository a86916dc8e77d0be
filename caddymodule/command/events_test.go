package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/talos-edge/talos-edge/core/engine"
)

const (
	createdEvent = `{"position":"7","time":"2026-01-02T03:04:05.678Z","type":"IssuedAPIKeyCreated","key_id":"` +
		testKeyID + `","key_type":"issued","actor_id":"bot","caller":{"kind":"key","id":"k\u001b[2J"},` +
		`"of_tomorrow":1}`
	revokedEvent = `{"position":"9","time":"2026-01-02T03:04:06Z","type":"ImportedAPIKeyRevoked","key_id":"` +
		testImportedID + `","key_type":"imported","caller":{"kind":"system"},` +
		`"reason":"REVOCATION_REASON_KEY_COMPROMISE"}`
	updatedEvent = `{"position":"10","time":"2026-01-02T03:04:07Z","type":"IssuedAPIKeyUpdated","key_id":"` +
		testKeyID + `","key_type":"issued","actor_id":"bot","reason":"REVOCATION_REASON_UNSPECIFIED"}`
)

func TestWhatEventsListPrintsInEachFormat(t *testing.T) {
	t.Parallel()
	for name, events := range map[string]string{
		"list": createdEvent + ",\n" + revokedEvent + "," + updatedEvent, "list_none": "",
	} {
		for variant, flags := range map[string][]string{
			"table": nil, "quiet": {"-q"}, "json": {"-o", "json"}, "json-pretty": {"-o", "json-pretty"},
			"yaml": {"-o", "yaml"}, "quiet_json": {"-q", "-o", "json"},
		} {
			endpoint, _ := stub(t, reply{http.StatusOK,
				`{"feed_id":"f","position":"10","complete_age":"0s","events":[` + events + `]}`})
			args := append([]string{"events", "list", "-e", endpoint}, flags...)
			stdout, stderr, err := runTree(t.Context(), "", args...)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("events", name+"."+variant), "standard output:\n"+stdout+"standard error:\n"+stderr)
			if want := createdEvent + "\n" + revokedEvent + "\n" + updatedEvent + "\n"; events != "" &&
				strings.HasSuffix(variant, "json") && stdout != want {
				t.Errorf("%s: not the server's events, one a line: %q", variant, stdout)
			}
		}
	}
}

// eventServer is a server with events at the positions from 1 on, of which the first ones may have been removed.
type eventServer struct {
	mu      sync.Mutex
	events  int
	removed int
	fail    int  // the call, from 1, that is refused
	stuck   bool // no page leads any further
	asked   []string
}

func (s *eventServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	s.asked = append(s.asked, r.FormValue("after")+"+"+r.FormValue("page_size"))
	if len(s.asked) == s.fail {
		refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "not now")
		return
	}
	after, _ := strconv.Atoi(r.FormValue("after"))
	size, _ := strconv.Atoi(r.FormValue("page_size"))
	begin := max(after, s.removed)
	end := min(begin+size, s.events)
	items := make([]string, 0, size)
	for i := begin + 1; i <= end; i++ {
		items = append(items, fmt.Sprintf(`{"position":"%d","key_id":%q}`, i, listedID(i)))
	}
	age := ""
	switch {
	case s.stuck:
		end = after
	case end == s.events:
		age = `"complete_age":"0s",`
	}
	_, _ = fmt.Fprintf(w, `{"feed_id":"f","position":"%d",%s"reset":%t,"events":[%s]}`,
		end, age, after < s.removed, strings.Join(items, ","))
	if s.removed > 0 {
		s.removed = s.events // more are removed while somebody reads
	}
}

func (s *eventServer) start(t *testing.T) (endpoint string) {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestEventsAreReadPageByPage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string
		asked []string
		last  int
		hint  string
	}{
		"all": {nil, []string{"+1000", "1000+1000", "2000+1000"}, 2500, ""},
		"a limit": {
			[]string{"--limit", "1500"},
			[]string{"+1000", "1000+500"},
			1500, "--limit allows more than 1500",
		},
		"as many as there are": {
			[]string{"--limit", "2500"},
			[]string{"+1000", "1000+1000", "2000+500"},
			2500, "",
		},
	} {
		s := &eventServer{events: 2500}
		endpoint := s.start(t)
		stdout, stderr, err := runTree(t.Context(), "",
			append([]string{"events", "list", "-o", "json", "-e", endpoint}, c.args...)...)
		if err != nil || !strings.Contains(stderr, c.hint) || c.hint == "" && stderr != "" {
			t.Errorf("%s: %v, %q", name, err, stderr)
		}
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		if want := `"` + strconv.Itoa(c.last) + `"`; len(lines) != c.last || !strings.Contains(lines[c.last-1], want) {
			t.Errorf("%s: %d lines, the last is %s", name, len(lines), lines[len(lines)-1])
		}
		if !slices.Equal(s.asked, c.asked) {
			t.Errorf("%s: asked for %v, want %v", name, s.asked, c.asked)
		}
		table, _, _ := runTree(t.Context(), "", append([]string{"events", "list", "-e", endpoint}, c.args...)...)
		if n := strings.Count(table, "TIME"); n != 1 {
			t.Errorf("%s: the table has %d heads", name, n)
		}
	}
}

func TestAListOfEventsThatIsNotWholeFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server *eventServer
		want   string // part of the error
	}{
		"a page is refused": {&eventServer{events: 2500, fail: 2}, "not now (HTTP 503)"},
		"events are removed before they are read": {
			&eventServer{events: 2500, removed: 10},
			"after position 1010, events have been missed",
		},
		"a page leads to itself": {&eventServer{events: 2500, stuck: true}, "not one of the v2alpha1 API"},
	} {
		stdout, _, err := runTree(t.Context(), "", "events", "list", "-e", c.server.start(t), "-o", "json-pretty")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if json.Valid([]byte(stdout)) {
			t.Errorf("%s: a part is a whole JSON value", name)
		}
	}
	// What was removed before is no loss.
	s := eventServer{events: 20, removed: 10}
	if stdout, _, err := runTree(t.Context(), "", "events", "list", "-e", s.start(t), "-q"); err != nil ||
		strings.Count(stdout, "\n") != 10 {
		t.Errorf("the oldest ones are not kept: %v, %q", err, stdout)
	}
}

// A server of another implementation, or one with the public API only, answers 404.
func TestAServerWithoutAFeedIsNamedAsSuch(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"list", "watch"} {
		endpoint, _ := stub(t, reply{http.StatusNotFound, `{"error":{"code":404,"message":"x","status":"NOT_FOUND"}}`})
		_, stderr, err := runTree(t.Context(), "", "events", command, "-e", endpoint)
		if err == nil || stderr != "Error: x (HTTP 404); this server has no feed of events\n" {
			t.Errorf("%s: %v, %q", command, err, stderr)
		}
	}
}

// eventTypesOf are the types of the events that are printed as JSON Lines, and the time of the last one.
func eventTypesOf(t *testing.T, lines string) (types []string, last string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var e struct{ Type, Time string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		types, last = append(types, e.Type), e.Time
	}
	return types, last
}

func TestEventsOfARunningServerAreListed(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	s := serveBinary(t, env)
	_, one := s.issue(t)
	for _, args := range [][]string{
		{"update", one, "--name", "x"},
		{"imported", "import", "old", "--actor", `car"ol`, "--raw-key", "legacy"},
		{"rotate", one},
		{"revoke", one},
	} {
		if _, exit := s.talos(t, append([]string{"keys"}, args...)...); exit != 0 && args[0] != "revoke" {
			t.Fatalf("%v: exit status %d", args, exit)
		}
	}
	list := func(args ...string) []string {
		t.Helper()
		out, exit := s.talos(t, append([]string{"events", "list", "-o", "json"}, args...)...)
		if exit != 0 {
			t.Errorf("%v: exit status %d", args, exit)
		}
		types, _ := eventTypesOf(t, out)
		return types
	}
	const created, updated, imported, rotated = "IssuedAPIKeyCreated", "IssuedAPIKeyUpdated", "ImportedAPIKeyCreated",
		"IssuedAPIKeyRotated"
	out, _ := s.talos(t, "events", "list", "-o", "json", "--type", updated)
	_, changed := eventTypesOf(t, out)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, []string{created, updated, imported, created, rotated}},
		{[]string{"--key", one}, []string{created, updated, rotated}},
		{[]string{"--actor", `car"ol`}, []string{imported}},
		{[]string{"--type", strings.ToUpper(created)}, []string{created, created}},
		{[]string{"--type", created, "--key", one, "--actor", "bot"}, []string{created}},
		{[]string{"--since", "24h"}, []string{created, updated, imported, created, rotated}},
		{[]string{"--since", changed}, []string{updated, imported, created, rotated}},
		{[]string{"--limit", "2"}, []string{created, updated}},
		{[]string{"--actor", "nobody"}, nil},
	} {
		if got := list(c.args...); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.args, got, c.want)
		}
	}
	if out, exit := s.talos(t, "events", "list", "-q", "--type", rotated); exit != 0 || out != one+"\n" {
		t.Errorf("--quiet: exit status %d, %q", exit, out)
	}
	table, exit := s.talos(t, "events", "list", "--type", rotated)
	if lines := strings.Split(table, "\n"); exit != 0 || len(lines) != 3 ||
		strings.Join(strings.Fields(lines[0]), " ") != "TIME TYPE KEY ACTOR CALLER REASON" ||
		!strings.HasSuffix(lines[1], "  "+rotated+"  "+one+"  bot    address 127.0.0.1  superseded") {
		t.Errorf("table: exit status %d\n%s", exit, table)
	}
}

func TestTypesOfEventsAreCompletedAndTakenInAnyCase(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"list", "watch"} {
		if got := complete(t, "events", command, "--type", ""); !slices.Equal(got, engine.EventTypes()) {
			t.Errorf("%s: completed %v", command, got)
		}
		endpoint, _ := stub(t, reply{http.StatusOK, issuedPage})
		got := complete(t, "events", command, "-e", endpoint, "--key", "")
		if len(got) != 1 || !strings.HasPrefix(got[0], testKeyID) {
			t.Errorf("%s: completed %q", command, got)
		}
	}
	for _, name := range engine.EventTypes() {
		c := choice{words: engine.EventTypes()}
		if err := c.Set(strings.ToLower(name)); err != nil || c.word != name {
			t.Errorf("%s: %q, %v", name, c.word, err)
		}
	}
}
