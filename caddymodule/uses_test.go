package caddymodule_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

func TestTheLastUseOfKeysAndOfTheirTokensIsKeptWhenANodeCloses(t *testing.T) {
	var conf edgeConfig
	e := startEdge(t, conf)
	request := engine.IssueRequest{Name: "n", ActorID: "a"}
	used, secret := e.issue(request)
	parent, parentSecret := e.issue(request)
	never, _ := e.issue(request)
	token := e.derive(engine.DeriveRequest{Credential: parentSecret, Algorithm: engine.AlgorithmJWT})
	began := time.Now().Truncate(time.Microsecond)
	for _, credential := range []string{secret, secret, token, "unknown"} {
		e.get("/", "Authorization", "Bearer "+credential)
	}
	ended := time.Now()
	conf.Talos = "default_ttl 1h" // another node on the same database
	e.load(conf)
	for _, id := range []string{used, parent} {
		key, err := e.node().Keys(core.NetworkID{}).Get(t.Context(), core.Issued, id)
		if at := key.LastUsedTime; err != nil || at.Before(began) || at.After(ended) {
			t.Errorf("a key that was used between %v and %v: %v, %v", began, ended, at, err)
		}
	}
	key, err := e.node().Keys(core.NetworkID{}).Get(t.Context(), core.Issued, never)
	if err != nil || !key.LastUsedTime.IsZero() {
		t.Errorf("a key that was not used: %v, %v", key.LastUsedTime, err)
	}
}

func TestASidecarReportsTheLastUseOfKeysWhenItCloses(t *testing.T) {
	far := newFarNode(t)
	s := startSidecar(t, far.url(), "header Authorization \"Bearer sidecar\"", "")
	id, secret := s.issue()
	var mu sync.Mutex
	var reports []client.ReportUseRequest
	far.answers(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/edges:report") {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		var in client.ReportUseRequest
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &in); err != nil || r.Header.Get("Authorization") != "Bearer sidecar" {
			t.Errorf("the report %s with the header %v", body, r.Header)
		}
		reports = append(reports, in)
		return true
	})
	for range 3 {
		if got := s.gated(secret); got.status != http.StatusOK {
			t.Fatalf("got %d %s", got.status, got.body)
		}
	}
	s.stop()
	if len(reports) != 1 || len(reports[0].LastUsed) != 1 || reports[0].LastUsed[0].KeyID != id ||
		reports[0].EdgeID == "" {
		t.Errorf("got %+v", reports)
	}
}
