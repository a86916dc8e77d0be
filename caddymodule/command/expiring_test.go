package command

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// expiryServer is a server whose keys expire after some hours from now; 0: never. A page has two keys.
type expiryServer struct {
	hours   map[string][]int // by the name of the collection
	filters []string
}

func (s *expiryServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	name, kind := "issued_api_keys", "issued"
	if strings.HasSuffix(r.URL.Path, "importedApiKeys") {
		name, kind = "imported_api_keys", "imported"
	}
	s.filters = append(s.filters, r.FormValue("filter"))
	var begin int
	_, _ = fmt.Sscan(r.FormValue("page_token"), &begin)
	var items []string
	for i := begin; i < min(begin+2, len(s.hours[name])); i++ {
		item := fmt.Sprintf(`{"key_id":"%s-%d","name":"n","status":"KEY_STATUS_ACTIVE"`, kind, s.hours[name][i])
		if h := s.hours[name][i]; h != 0 {
			item += `,"expire_time":"` + time.Now().Add(time.Duration(h)*time.Hour).UTC().Format(time.RFC3339) + `"`
		}
		items = append(items, item+`}`)
	}
	next := ""
	if begin+2 < len(s.hours[name]) {
		next = fmt.Sprintf(`,"next_page_token":"%d"`, begin+2)
	}
	_, _ = fmt.Fprintf(w, `{"%s":[%s]%s}`, name, strings.Join(items, ","), next)
}

func TestTheKeysThatExpireSoonAreListedTheFirstToExpireFirst(t *testing.T) {
	t.Parallel()
	s := &expiryServer{hours: map[string][]int{
		"issued_api_keys": {30, 0, 3, 500, 1}, "imported_api_keys": {2, 49},
	}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	run := func(args ...string) (stdout, stderr string) {
		t.Helper()
		args = append([]string{"keys", "expiring", "-e", server.URL}, args...)
		stdout, stderr, err := runTree(t.Context(), "", args...)
		if err != nil {
			t.Errorf("%v: %v, %q", args, err, stderr)
		}
		return stdout, stderr
	}
	got, stderr := run("--within", "2d", "-q")
	if got != "issued-1\nimported-2\nissued-3\nissued-30\n" || stderr != "" {
		t.Errorf("--quiet: %q, %q", got, stderr)
	}
	if got, _ := run("-q"); strings.Count(got, "\n") != 5 || strings.Contains(got, "issued-500") {
		t.Errorf("within 14 days: %q", got)
	}
	got, stderr = run("--within", "90m")
	if !strings.HasPrefix(got, "KEY ID ") || strings.Count(got, "\n") != 2 || !strings.Contains(got, "issued-1 ") ||
		!strings.Contains(stderr, "1 of 7 active keys") || !strings.Contains(stderr, "Pages read: 4.") {
		t.Errorf("table:\n%s%s", got, stderr)
	}
	if got, stderr := run("--within", "1m"); got != "" || !strings.Contains(stderr, "0 of 7 active keys") {
		t.Errorf("none:\n%s%s", got, stderr)
	}
	if got, stderr := run("--within", "1m", "-o", "json"); got != `{"keys":[]}`+"\n" || stderr != "" {
		t.Errorf("json of none: %q, %q", got, stderr)
	}
	got, _ = run("--within", "90m", "-o", "json")
	if !strings.HasPrefix(got, `{"keys":[{"key_id":"issued-1","name":"n",`) {
		t.Errorf("json: %q", got)
	}
	for _, filter := range s.filters {
		if filter != "status=KEY_STATUS_ACTIVE" {
			t.Errorf("keys were listed with the filter %q", filter)
		}
	}
}

func TestDurationsThatAreNoneAreRefusedBeforeACall(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"expiring", "--within", "0s"}, {"expiring", "--within", "soon"}, {"expiring", "--within", ""},
		{"issued", "list", "--unused-for", "long"}, {"imported", "list", "--unused-for", ""},
		{"list", "--unused-for", "9999-01-01T00:00:00Z"},
	} {
		_, stderr, err := runTree(t.Context(), "", append([]string{"keys", "-e", "http://127.0.0.1:1"}, args...)...)
		if err == nil || !strings.Contains(stderr, args[len(args)-2]) {
			t.Errorf("%v: %v, %q", args, err, stderr)
		}
	}
}

func TestAListOfUnusedKeysSaysHowItGoesOn(t *testing.T) {
	t.Parallel()
	endpoint := (&listServer{keys: 60}).start(t)
	_, stderr, err := runTree(t.Context(), "", "keys", "list", "-e", endpoint, "--unused-for", "90d")
	_, flags, _ := strings.Cut(stderr, ", or ")
	args := strings.Fields(flags) // the next command, with the same filter
	if err != nil || len(args) < 4 || args[0] != "--unused-for" || args[2] != "--page-token" {
		t.Fatalf("%v, %q", err, stderr)
	}
	since, err := time.Parse(time.RFC3339, args[1])
	if age := time.Since(since); err != nil || age < 90*24*time.Hour || age > 91*24*time.Hour {
		t.Errorf("not used since %v, %v", since, err)
	}
}
