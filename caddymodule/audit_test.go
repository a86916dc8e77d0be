package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
)

// logged are the lines of a log in JSON in the folder of a test.
func (s *solo) logged(name string) (lines []map[string]any) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.folder, name))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			s.t.Fatalf("%v in %s", err, line)
		}
		lines = append(lines, fields)
	}
	return lines
}

// uuidForm is a request id of Caddy's own.
var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// TestTheAuditLogIsALogOfItsOwn filters the lines by their logger, and has a gate before the private surface say who
// calls.
func TestTheAuditLogIsALogOfItsOwn(t *testing.T) {
	s := newSolo(t)
	s.mustLoad("log audit {\noutput file FOLDER/audit.log\nformat json\ninclude talos.audit\n}\n"+
		"talos {\nstorage sqlite://FOLDER/a.db\n}", `http://:PORT {
			bind 127.0.0.1
			talos_gate {
				optional
			}
			talos_admin
		}`)
	caller, secret := s.issue()
	for i, header := range [][2]string{
		{"X-Request-Id", "deploy-42"}, {"X-Request-Id", "not an id"}, {"X-Request-Id", secret}, {"X-Other", "x"},
	} {
		id, _ := s.issue()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			"http://"+s.addr+"/v2alpha1/admin/issuedApiKeys/"+id+":revoke",
			strings.NewReader(`{"reason":"REVOCATION_REASON_SUPERSEDED"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+secret)
		req.Header.Set(header[0], header[1])
		if got := exchange(t, req); got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}
		lines := s.logged("audit.log")
		line := lines[len(lines)-1]
		for name, want := range map[string]any{
			"level": "info", "logger": "talos.audit", "msg": "key revoked", "operation": "revoke", "key_id": id,
			"actor_id": "someone", "client_ip": "127.0.0.1", "user": caller, "result": "ok",
			"reason": "REVOCATION_REASON_SUPERSEDED",
		} {
			if line[name] != want {
				t.Errorf("%s: got %v, want %v", name, line[name], want)
			}
		}
		requestID, _ := line["request_id"].(string)
		if i == 0 && requestID != "deploy-42" || i > 0 && !uuidForm.MatchString(requestID) {
			t.Errorf("the caller sent %s, and the request id is %q", header[1], requestID)
		}
	}
	if n := len(s.logged("audit.log")); n != 9 {
		t.Errorf("%d lines for 9 changes", n)
	}
}

func TestFailedSelfRevocationsAreCounted(t *testing.T) {
	s := newSolo(t)
	metrics := freeport.Addr(t)
	s.mustLoad("talos {\nstorage sqlite://FOLDER/a.db\n}", strings.ReplaceAll(withMetrics, "METRICS", portOf(metrics)))
	before := readMetrics(t, metrics)
	_, secret := s.issue()
	revoke := func(cred string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.addr+selfRevokePath,
			strings.NewReader(`{"credential":"`+cred+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		exchange(t, req)
	}
	for _, cred := range []string{secret, secret, "guess", "guess", "", "eyJhbGciOiJub25lIn0.e30.x"} {
		revoke(cred)
	}
	now := readMetrics(t, metrics)
	for reason, want := range map[string]float64{
		"malformed": 2, "invalid": 2, "revoked": 1, "expired": 0, "rate_limited": 0, "unavailable": 0,
	} {
		name := `talos_self_revocations_failed_total{reason="` + reason + `"}`
		if _, there := before[name]; !there || now[name]-before[name] != want {
			t.Errorf("%s rose from %v by %v, want %v", name, before[name], now[name]-before[name], want)
		}
	}
}

// loudLines are the lines of the default log at info or above, but for Caddy's own.
func (s *solo) loudLines(name string) (lines []map[string]any) {
	s.t.Helper()
	for _, line := range s.logged(name) {
		logger, _ := line["logger"].(string)
		if line["level"] != "debug" && strings.Contains(logger, "talos") && logger != "talos.audit" {
			lines = append(lines, line)
		}
	}
	return lines
}

// loadLogged loads a configuration whose default log is a file.
func (s *solo) loadLogged(talos, sites string) {
	s.t.Helper()
	text := strings.Replace(s.text(talos, sites), "output discard",
		"format json\noutput file "+filepath.ToSlash(s.folder)+"/default.log", 1)
	if err := caddy.Load(adapt(s.t, text), true); err != nil {
		s.t.Fatal(err)
	}
}

// outage makes calls while nothing can answer them, and then until the end is logged. It returns the two lines.
func (s *solo) outage(goes, comes func(), begins, ends, known string) (beginning, end map[string]any) {
	s.t.Helper()
	if got := s.gated(known); got.status != http.StatusOK {
		s.t.Fatalf("before: %d %s", got.status, got.body)
	}
	calls := func() (unavailable bool) {
		got := s.gated("never-seen")
		for _, path := range []string{"/health/ready", "/v2alpha1/admin/issuedApiKeys"} {
			s.ask(path, "127.0.0.1")
		}
		return got.status == http.StatusServiceUnavailable
	}
	goes()
	until(s.t, "nothing can be looked up", calls)
	for range 20 {
		calls()
	}
	messages := func() (all []string) {
		for _, line := range s.loudLines("default.log") {
			msg, _ := line["msg"].(string)
			all = append(all, msg)
		}
		return all
	}
	count := func(begin string) (n int) {
		for _, msg := range messages() {
			if strings.HasPrefix(msg, begin) {
				n++
			}
		}
		return n
	}
	if n := count(begins); n != 1 {
		s.t.Errorf("the beginning is logged %d times: %q", n, messages())
	}
	for _, msg := range []string{"request denied", "request failed"} {
		if n := count(msg); n > 1 { // one may fail before the outage is noticed
			s.t.Errorf("%d lines %q beside it", n, msg)
		}
	}
	comes()
	until(s.t, "the end is logged", func() bool {
		calls()
		return count(ends) > 0
	})
	if n := count(ends); n != 1 || count(begins) != 1 {
		s.t.Errorf("after it, the log has %q", messages())
	}
	for _, line := range s.loudLines("default.log") {
		switch msg, _ := line["msg"].(string); {
		case strings.HasPrefix(msg, begins):
			beginning = line
		case strings.HasPrefix(msg, ends):
			end = line
		}
	}
	return beginning, end
}

func TestASidecarsOutageIsLoggedOnce(t *testing.T) {
	far := newFarNode(t)
	s := newSolo(t)
	s.loadLogged("talos {\ncache {\nstale_if_error 90s\n}\nupstream "+far.url()+" {\ntimeout 500ms\n}\n}", onlyAdmin)
	_, secret := s.issue()
	beginning, end := s.outage(
		far.kill, far.start, "the upstream does not answer", "the upstream answers again", secret)
	if beginning["level"] != "error" || beginning["logger"] != "talos.upstream" || beginning["stale_if_error"] != 90.0 {
		t.Errorf("the beginning is %v", beginning)
	}
	if refused, ok := end["refused"].(float64); !ok || refused < 20 || end["level"] != "info" || end["lasted"] == 0 {
		t.Errorf("the end is %v", end)
	}
}

func TestAnOutageOfTheDatabaseIsLoggedOnce(t *testing.T) {
	s := newSolo(t)
	s.loadLogged("talos {\nstorage sqlite://FOLDER/a.db\n}", onlyAdmin)
	_, secret := s.issue()
	path := filepath.Join(s.folder, "a.db")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	beginning, end := s.outage(
		func() {
			must(os.Rename(path, path+".away"))
			must(os.WriteFile(path, []byte("another file"), 0o600))
		},
		func() { must(os.Rename(path+".away", path)) },
		"which keys have changed cannot be read", "changes can be read from the database again", secret)
	if beginning["level"] != "error" || beginning["logger"] != "talos.storage" || beginning["error"] == nil {
		t.Errorf("the beginning is %v", beginning)
	}
	if refused, ok := end["refused"].(float64); !ok || refused < 20 {
		t.Errorf("the end is %v", end)
	}
}
