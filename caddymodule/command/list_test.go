package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// listServer is a server with keys of both kinds, whose page tokens are the place of the next key.
type listServer struct {
	keys  int
	loop  bool // the last page names itself as the next one
	fail  int  // the call, from 1, that is refused
	calls atomic.Int32
}

func listedID(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }

func (s *listServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if int(s.calls.Add(1)) == s.fail {
		refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "not now")
		return
	}
	name := "issued_api_keys"
	if strings.HasSuffix(r.URL.Path, "importedApiKeys") {
		name = "imported_api_keys"
	}
	size, _ := strconv.Atoi(r.FormValue("page_size"))
	if size == 0 {
		size = 50
	}
	begin, _ := strconv.Atoi(r.FormValue("page_token"))
	end := min(begin+size, s.keys)
	items := make([]string, 0, size)
	for i := begin; i < end; i++ {
		items = append(items, fmt.Sprintf(`{"key_id":%q,"name":"n%d","of_tomorrow":[%d]}`, listedID(i), i, i))
	}
	next := ""
	switch {
	case s.loop && end == s.keys:
		next = fmt.Sprintf(`,"next_page_token":"%d"`, begin)
	case end < s.keys:
		next = fmt.Sprintf(`,"next_page_token":"%d"`, end)
	}
	_, _ = fmt.Fprintf(w, `{"%s":[%s]%s}`, name, strings.Join(items, ","), next)
}

func (s *listServer) start(t *testing.T) (endpoint string) {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestAListThatIsCutSaysSoAndQuietlyFails(t *testing.T) {
	t.Parallel()
	endpoint := (&listServer{keys: 60}).start(t)
	for _, kind := range []string{"issued", "imported"} {
		stdout, stderr, err := runTree(t.Context(), "", "keys", kind, "list", "-e", endpoint, "-q")
		if n := strings.Count(stdout, "\n"); n != 50 || err == nil || !strings.Contains(err.Error(), "status 3") {
			t.Errorf("%s: %d lines, %v", kind, n, err)
		}
		if !strings.Contains(stderr, "--all") || !strings.Contains(stderr, "--page-token 50") {
			t.Errorf("%s: standard error %q", kind, stderr)
		}
		_, stderr, err = runTree(t.Context(), "", "keys", kind, "list", "-e", endpoint)
		if err != nil || !strings.Contains(stderr, "--page-token 50") {
			t.Errorf("%s, table: %v, %q", kind, err, stderr)
		}
		stdout, stderr, err = runTree(t.Context(), "", "keys", kind, "list", "-e", endpoint, "-o", "json")
		if err != nil || stderr != "" || !strings.Contains(stdout, `"next_page_token":"50"`) {
			t.Errorf("%s, json: %v, %q", kind, err, stderr)
		}
		stdout, stderr, err = runTree(t.Context(), "", "keys", kind, "list", "-e", endpoint, "-q",
			"--page-token", "50")
		if n := strings.Count(stdout, "\n"); n != 10 || err != nil || stderr != "" {
			t.Errorf("%s, the last page: %d lines, %v, %q", kind, n, err, stderr)
		}
	}
}

func TestAListOfAllKeysReadsPageAfterPage(t *testing.T) {
	t.Parallel()
	endpoint := (&listServer{keys: 60}).start(t)
	list := func(args ...string) string {
		t.Helper()
		stdout, stderr, err := runTree(t.Context(), "",
			append([]string{"keys", "list", "--all", "-e", endpoint, "--page-size", "25"}, args...)...)
		if err != nil || stderr != "" {
			t.Errorf("%v: %v, %q", args, err, stderr)
		}
		return stdout
	}
	var want strings.Builder
	for i := range 60 {
		want.WriteString(listedID(i) + "\n")
	}
	if got := list("-q"); got != want.String() {
		t.Errorf("--quiet: %q", got)
	}
	if got := list(); strings.Count(got, "KEY ID") != 1 || strings.Count(got, "\n") != 61 {
		t.Errorf("table:\n%s", got)
	}
	for _, f := range []string{"json", "json-pretty"} {
		var out struct {
			Keys []struct {
				ID       string `json:"key_id"`
				Tomorrow []int  `json:"of_tomorrow"`
			} `json:"issued_api_keys"`
			Next *string `json:"next_page_token"`
		}
		got := list("-o", f)
		if err := json.Unmarshal([]byte(got), &out); err != nil || len(out.Keys) != 60 || out.Next != nil {
			t.Fatalf("%s: %v: %s", f, err, got)
		}
		for i, k := range out.Keys {
			if k.ID != listedID(i) || len(k.Tomorrow) != 1 || k.Tomorrow[0] != i {
				t.Errorf("%s: key %d is %+v", f, i, k)
			}
		}
	}
	if got := list("-o", "yaml"); strings.Count(got, "issued_api_keys:") != 1 || strings.Count(got, "- key_id:") != 60 {
		t.Errorf("yaml:\n%s", got)
	}
	if got := list("-q", "--page-token", "58"); got != listedID(58)+"\n"+listedID(59)+"\n" {
		t.Errorf("from a page on: %q", got)
	}
}

func TestAListOfAllKeysThatIsNotWholeFails(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*listServer{
		"a page is refused":              {keys: 60, fail: 2},
		"the last page goes on for ever": {keys: 60, loop: true},
	} {
		for _, f := range []string{"table", "json"} {
			s.calls.Store(0)
			stdout, _, err := runTree(t.Context(), "", "keys", "list", "--all", "--page-size", "30",
				"-e", s.start(t), "-o", f)
			if err == nil {
				t.Errorf("%s, %s: it succeeded", name, f)
			}
			if f == "json" && json.Valid([]byte(stdout)) {
				t.Errorf("%s: a part is a whole JSON value", name)
			}
		}
	}
	endpoint := (&listServer{}).start(t)
	stdout, _, err := runTree(t.Context(), "", "keys", "list", "--all", "-e", endpoint, "-o", "json")
	if err != nil || stdout != `{"issued_api_keys":[]}`+"\n" {
		t.Errorf("no keys: %v, %q", err, stdout)
	}
}
