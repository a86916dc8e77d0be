package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/caddymodule/internal/callertest"
	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/core"
)

const (
	verifyPath     = "/v2alpha1/admin/apiKeys:verify"
	batchPath      = "/v2alpha1/admin/apiKeys:batchVerify"
	selfRevokePath = "/v2alpha1/apiKeys:selfRevoke"
)

func TestASidecarGatesManagesAndRevokesTheKeysOfANodeOfOurs(t *testing.T) {
	far := newFarNode(t)
	s := startSidecar(t, far.url(), "", "")
	id, secret := s.issue() // through the sidecar
	other, otherSecret := s.issue()
	if got := s.gated(secret); got.status != http.StatusOK || got.body != id {
		t.Fatalf("a new key: %d %s", got.status, got.body)
	}
	if got := s.gated(secret + "x"); got.status != http.StatusUnauthorized {
		t.Errorf("a forged key: %d %s", got.status, got.body)
	}
	s.gated(otherSecret)
	until(t, "the verdict is in the cache", func() bool {
		got := s.call("POST", s.addr, verifyPath, `{"credential":"`+secret+`"}`)
		return got.header.Get("Ory-Talos-Cache") == "HIT" && strings.Contains(got.body, id)
	})
	far.to("batchVerify")
	got := s.call("POST", s.addr, batchPath, `{"requests":[{"credential":"`+secret+`"},{"credential":"new"}]}`)
	if asked := far.to("batchVerify"); len(asked) != 1 || asked[0].ContentLength > 60 ||
		!strings.Contains(got.body, "NOT_FOUND") || !strings.Contains(got.body, id) {
		t.Errorf("a batch with one miss: %s", got.body)
	}

	if got := s.call("POST", s.addr, "/v2alpha1/admin/issuedApiKeys/"+id+":revoke", "{}"); got.status != 200 {
		t.Fatalf("revoking: %d %s", got.status, got.body)
	}
	if got := s.gated(secret); got.status != http.StatusUnauthorized {
		t.Errorf("a key that was revoked through the sidecar: %d %s", got.status, got.body)
	}
	got = s.call("POST", s.public, selfRevokePath, `{"credential":"`+otherSecret+`"}`,
		"X-Forwarded-For", "198.51.100.1")
	if got.status != 200 {
		t.Fatalf("self-revocation: %d %s", got.status, got.body)
	}
	if got := s.gated(otherSecret); got.status != http.StatusUnauthorized {
		t.Errorf("a key whose holder revoked it: %d %s", got.status, got.body)
	}
	got = s.call("GET", s.addr, "/v2alpha1/admin/issuedApiKeys/"+other, "")
	if !strings.Contains(got.body, "REVOKED") {
		t.Errorf("the record: %d %s", got.status, got.body)
	}
	for path, want := range map[string]int{
		"/v2alpha1/derivedKeys/jwks.json": 200, "/health/ready": 200, "/v2alpha1/admin/issuedApiKeys/" + id: 404,
	} {
		if got := s.call("GET", s.public, path, ""); got.status != want {
			t.Errorf("%s on the public surface: %d %s", path, got.status, got.body)
		}
	}
	if got := s.call("POST", s.addr, "/v2alpha1/admin/apiKeys:no-such-call", `{"credential":"x"}`); got.status != 404 {
		t.Errorf("what the upstream does not have: %d %s", got.status, got.body)
	}
}

func TestAnIPListOfANodeOfOursIsJudgedAtTheSidecarForEachClient(t *testing.T) {
	far := newFarNode(t)
	s := startSidecar(t, far.url(), "", "")
	c, err := client.New(far.url())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	made, err := c.Issue(t.Context(), client.IssueRequest{
		Name: "n", ActorID: "a", IPRestriction: &client.IPRestriction{AllowedCIDRs: []string{"203.0.113.0/24"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for addr, want := range map[string]int{"203.0.113.9": 200, "198.51.100.9": 403, "127.0.0.1": 403} {
			if got := s.gatedFrom(addr, made.Secret); got.status != want {
				t.Errorf("from %s: %d %s", addr, got.status, got.body)
			}
		}
	}
	got := s.call("POST", s.addr, verifyPath, `{"credential":"`+made.Secret+`"}`)
	if strings.Contains(got.body, "203.0.113") || !strings.Contains(got.body, "IP_NOT_ALLOWED") {
		t.Errorf("verify: %s", got.body)
	}
}

func TestAnotherImplementationIsAskedForListsAndClients(t *testing.T) {
	api := &plainAPI{}
	far := newFarServer(t, api)
	s := startSidecar(t, far.url(), `header Authorization "`+sidecarToken+`"`, "")
	free, near := api.add("free"), api.add("near", "127.0.0.0/8")
	away := api.add("away", "203.0.113.0/24")
	for range 3 {
		for _, c := range []struct {
			from, cred string
			want       int
			body       string
		}{
			{"198.51.100.9", "free", 200, free},
			{"127.0.0.1", "near", 200, near}, // the sidecar's own address, too
			{"198.51.100.9", "near", 403, ""},
			{"203.0.113.9", "away", 200, away},
			{"198.51.100.9", "away", 403, ""},
			{"203.0.113.9", "unknown", 401, ""},
		} {
			got := s.gatedFrom(c.from, c.cred)
			if got.status != c.want || c.body != "" && got.body != c.body {
				t.Errorf("%s from %s: %d %s", c.cred, c.from, got.status, got.body)
			}
		}
	}
	far.to("/" + free)
	until(t, "the list is remembered with the verdict", func() bool {
		s.gatedFrom("198.51.100.9", "free")
		return len(far.to("/"+free)) == 0
	})
	got := s.call("POST", s.addr, batchPath, `{"requests":[{"credential":"away"},{"credential":"near"}]}`,
		"X-Forwarded-For", "10.1.2.3")
	if strings.Count(got.body, "IP_NOT_ALLOWED") != 2 {
		t.Errorf("a batch for a client elsewhere: %s", got.body)
	}

	got = s.call("POST", s.public, selfRevokePath, `{"credential":"free"}`, "Authorization", "Bearer x",
		"X-Forwarded-For", "198.51.100.2")
	if got.status != 200 {
		t.Fatalf("self-revocation: %d %s", got.status, got.body)
	}
	if got := s.gated("free"); got.status != http.StatusUnauthorized {
		t.Errorf("after its self-revocation: %d %s", got.status, got.body)
	}
	if asked := far.to("selfRevoke"); len(asked) != 1 || asked[0].Header["Authorization"] != nil {
		t.Errorf("the self-revocation was sent as %v", asked)
	}
}

func TestAKeyThatItsUpstreamLimitsIs429AndAskedAboutEachTime(t *testing.T) {
	api := &plainAPI{}
	far := newFarServer(t, api)
	s := startSidecar(t, far.url(), `header Authorization "`+sidecarToken+`"`, "")
	api.add("limited")
	for range 2 {
		got := s.gated("limited")
		if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "1" ||
			got.reason() != "TOO_MANY_REQUESTS" {
			t.Errorf("got %d %v %s", got.status, got.header, got.body)
		}
		if asked := far.to("batchVerify"); len(asked) != 1 {
			t.Errorf("the upstream was asked %d times", len(asked))
		}
	}
}

func TestASidecarWithoutItsCertificatesDoesNotStart(t *testing.T) {
	s := newSolo(t)
	garbage := filepath.Join(s.folder, "garbage.pem")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for options, want := range map[string]string{
		"tls_ca FOLDER/none.pem":                     "tls_ca",
		"tls_ca FOLDER/garbage.pem":                  "no certificate",
		"tls_cert FOLDER/none.pem FOLDER/none.key":   "tls_cert",
		"header Authorization {env.TALOS_NONE_SUCH}": "header",
	} {
		err := s.load("talos {\nupstream https://127.0.0.1:1 {\n"+options+"\n}\n}", onlyAdmin)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", options, err)
		}
	}
	if open := uses(); open != nil {
		t.Errorf("%v are left open", open)
	}
	if err := s.load("talos {\nupstream https://127.0.0.1:1\n}", onlyAdmin); err != nil {
		t.Errorf("an upstream that is down keeps the sidecar from starting: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(s.folder, "*.db")); err != nil || left != nil {
		t.Errorf("a sidecar has made %v", left)
	}
	if _, err := os.Stat(filepath.Join(s.folder, "caddy", "talos")); err == nil {
		t.Error("a sidecar has made a secret")
	}
}

func TestAttack16_TheSidecarsAuthorityIsNotLent(t *testing.T) {
	api := &plainAPI{}
	far := newFarServer(t, api)
	s := startSidecar(t, far.url(), `header Authorization "`+sidecarToken+`"`, "")
	id := api.add("key")
	revoke := "/v2alpha1/admin/importedApiKeys/" + id + ":revoke"
	if got := s.gated("key"); got.status != http.StatusOK {
		t.Fatalf("a good key: %d %s", got.status, got.body)
	}
	if asked := far.to("batchVerify"); len(asked) != 1 || asked[0].Header.Get("Authorization") != sidecarToken {
		t.Fatal("the sidecar does not show what its upstream asks for")
	}
	if got := s.call("POST", s.addr, revoke, "{}"); got.status != http.StatusUnauthorized {
		t.Errorf("a caller without authority: %d %s", got.status, got.body)
	}
	if asked := far.to(":revoke"); len(asked) != 1 || asked[0].Header["Authorization"] != nil ||
		asked[0].Host != s.addr || asked[0].Header["X-Forwarded-For"] != nil {
		t.Errorf("it was sent as %v", asked)
	}
	if got := s.gated("key"); got.status != http.StatusOK {
		t.Errorf("the key after that: %d %s", got.status, got.body)
	}
	got := s.call("POST", s.addr, revoke, "{}", "Authorization", "Bearer an-operators", "X-Forwarded-For", "10.1.2.3")
	if got.status != http.StatusOK {
		t.Errorf("an operator: %d %s", got.status, got.body)
	}
	if asked := far.to(":revoke"); len(asked) != 1 || asked[0].Header.Get("Authorization") != "Bearer an-operators" ||
		asked[0].Header.Get("X-Forwarded-For") != "10.1.2.3" {
		t.Errorf("it was sent as %v", asked)
	}
	if got := s.gated("key"); got.status != http.StatusUnauthorized {
		t.Errorf("the key after its revocation: %d %s", got.status, got.body)
	}
}

func TestASidecarsNodeBelongsToItsSettings(t *testing.T) {
	api := &plainAPI{}
	far := newFarServer(t, api)
	header := `header Authorization "` + sidecarToken + `"`
	s := startSidecar(t, far.url(), header, "")
	id := api.add("key")
	before := runningNode(s.t)
	s.reload(far.url(), header, "")
	if runningNode(s.t) != before {
		t.Error("a reload without a change made another node")
	}
	if got := s.gatedFrom("127.0.0.1", "key"); got.status != http.StatusOK {
		t.Fatalf("a good key: %d %s", got.status, got.body)
	}
	for _, options := range []string{
		header + "\nheader X-Other 1", header + "\ntimeout 1s", header + "\nip_lists none",
	} {
		earlier := runningNode(s.t)
		s.reload(far.url(), options, "")
		if runningNode(s.t) == earlier || len(uses()) != 1 {
			t.Errorf("%s: another node must be in the place of the first; open are %v", options, uses())
		}
		if strings.Contains(strings.Join(uses(), " "), "sidecars") {
			t.Error("a header's value is in the pool")
		}
		if got := s.gatedFrom("127.0.0.1", "key"); got.status != http.StatusOK || got.body != id {
			t.Errorf("after the reload: %d %s", got.status, got.body)
		}
	}
	// A change that passes through the node of an earlier configuration counts on the node after it.
	revoke := httptest.NewRequest(http.MethodPost, selfRevokePath, strings.NewReader(`{"credential":"key"}`))
	revoke.Header.Set("Content-Type", "application/json")
	remove := httptest.NewRequest(http.MethodDelete, "/v2alpha1/admin/importedApiKeys/"+id, nil)
	remove.Header.Set("Authorization", sidecarToken)
	for _, r := range []*http.Request{revoke, remove} {
		until(t, "the verdict is in the cache", func() bool {
			s.gatedFrom("127.0.0.1", "key")
			far.to("batchVerify")
			s.gatedFrom("127.0.0.1", "key")
			return len(far.to("batchVerify")) == 0
		})
		w := httptest.NewRecorder()
		if r == revoke {
			before.Public(adminapi.PublicOptions{Options: adminapi.Options{Logger: zap.NewNop()}}).Serve(w, r)
		} else {
			before.Admin(adminapi.Options{}).ServeHTTP(w, r)
		}
		if w.Code != http.StatusOK && w.Code != http.StatusNoContent {
			t.Errorf("%s: %d %s", r.URL, w.Code, w.Body)
		}
		if s.gatedFrom("127.0.0.1", "key"); len(far.to("batchVerify")) != 1 {
			t.Errorf("%s: a key that was forgotten is not looked up again", r.URL)
		}
	}
}

func TestASidecarAsksNothingForAnAddressOfEarlyData(t *testing.T) {
	api := &plainAPI{}
	far := newFarServer(t, api)
	startSidecar(t, far.url(), `header Authorization "`+sidecarToken+`"`, "")
	api.add("away", "203.0.113.0/24")
	n := runningNode(t)
	for _, early := range []bool{false, true} {
		far.to("apiKeys:verify")
		r := callertest.Caller{Peer: "203.0.113.9:50000", Early: early}.Request()
		result, err := n.Verify(r, core.NetworkID{}, "away")
		if err != nil {
			t.Fatal(err)
		}
		want, code := 1, core.CodeValid
		if early {
			want, code = 0, core.CodeIPNotAllowed
		}
		if asked := len(far.to("apiKeys:verify")); asked != want {
			t.Errorf("early data %t: asked %d times for the client, want %d", early, asked, want)
		}
		if result.Verdict.Code != code {
			t.Errorf("early data %t: the verdict is %v, want %v", early, result.Verdict.Code, code)
		}
	}
}

func TestTheMetricsOfASidecarTellOfItsUpstream(t *testing.T) {
	far := newFarNode(t)
	s := startSidecar(t, far.url(), "", "")
	addr := freeport.Addr(t)
	s.mustLoad("talos {\nupstream "+far.url()+"\n}", strings.ReplaceAll(withMetrics, "METRICS", portOf(addr)))
	const (
		answered = `talos_upstream_requests_total{result="ok"}`
		dead     = `talos_upstream_requests_total{result="unreachable"}`
	)
	before := readMetrics(t, addr)
	s.gated("one")
	s.gated("two")
	after := readMetrics(t, addr)
	for _, name := range []string{
		answered, "talos_upstream_batch_size_count", "talos_upstream_batch_size_sum", "talos_upstream_seconds_count",
	} {
		if rose := after[name] - before[name]; rose != 2 {
			t.Errorf("%s rose by %v", name, rose)
		}
	}
	_, there := after["talos_upstream_queue"]
	if !there || after["talos_breaker_state"] != 0 || after[dead] != before[dead] {
		t.Errorf("got %v", after)
	}
	far.kill()
	until(t, "the breaker is open", func() bool {
		s.gated("three")
		return readMetrics(t, addr)["talos_breaker_state"] == 2
	})
	if now := readMetrics(t, addr); now[dead] == before[dead] {
		t.Errorf("got %v", now)
	}
}

func TestAttack08_AFloodFromOneAddressHarmsNoOther(t *testing.T) {
	far := newFarNode(t)
	s := startSidecar(t, far.url(), "max_in_flight 1\nmax_queue 5\ntimeout 30s", "")
	gate := make(chan struct{})
	far.answers(func(http.ResponseWriter, *http.Request) bool { <-gate; return false })
	statuses := make(chan int, 20)
	var all sync.WaitGroup
	for i := range 10 { // one is out, five wait, and four are refused
		all.Go(func() { statuses <- s.gatedFrom("203.0.113.1", fmt.Sprint("flood-", i)).status })
	}
	for range 4 {
		if got := <-statuses; got != 503 {
			t.Errorf("beyond max_queue: %d", got)
		}
	}
	another := make(chan int, 1)
	all.Go(func() { another <- s.gatedFrom("203.0.113.2", "unknown").status })
	if got := <-statuses; got != 503 {
		t.Errorf("the one that makes room: %d", got)
	}
	close(gate)
	if got := <-another; got != 401 {
		t.Errorf("another address: %d", got)
	}
	all.Wait()
}
