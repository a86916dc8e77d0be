package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
)

// edgesOf are the names of the edges that a node lists.
func (f *farServer) edgesOf(s *sidecar) (names []string) {
	f.t.Helper()
	got := s.call("GET", f.addr, "/v2alpha1/admin/edges", "")
	var list client.EdgesResponse
	if err := json.Unmarshal([]byte(got.body), &list); err != nil {
		f.t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	for i := range list.Edges {
		names = append(names, list.Edges[i].EdgeID)
	}
	return names
}

// named gives the sidecar a name.
func (s *sidecar) named(edgeID string, far *farServer) {
	s.t.Helper()
	s.mustLoad("talos {\nedge_id "+edgeID+"\nupstream "+far.url()+"\n}",
		strings.ReplaceAll(sidecarSites, "PUBLIC", portOf(s.public)))
}

// A key that is revoked at the node, past the sidecar, is refused by the sidecar's gate when the revocation is
// confirmed.
func TestASidecarConfirmsWhatIsRevokedAtItsNode(t *testing.T) {
	far := newFarNode(t)
	s := startSidecar(t, far.url(), "", "")
	s.named("edge-1", far)
	id, secret := s.issue()
	if got := s.gated(secret); got.status != http.StatusOK {
		t.Fatalf("a new key: %d %s", got.status, got.body)
	}
	until(t, "the sidecar follows the node", func() bool { return strings.Join(far.edgesOf(s), " ") == "edge-1" })
	got := s.call("POST", far.addr, "/v2alpha1/admin/apiKeys/"+id+":revoke?wait=30s", "{}")
	if got.status != http.StatusOK || got.header.Get("Talos-Confirmed") != "1" ||
		got.header.Get("Talos-Unconfirmed") != "0" {
		t.Errorf("revoking: %d %v %s", got.status, got.header, got.body)
	}
	if got := s.gated(secret); got.status != http.StatusUnauthorized {
		t.Errorf("after the revocation is confirmed: %d", got.status)
	}
}

// A reload that changes the sidecar's settings makes another node of it. The one before is not waited for.
func TestASidecarThatIsReplacedByAReloadIsNotWaitedFor(t *testing.T) {
	far := newFarNode(t)
	s := startSidecar(t, far.url(), "", "")
	s.named("before", far)
	until(t, "the sidecar follows the node", func() bool { return strings.Join(far.edgesOf(s), " ") == "before" })
	s.named("after", far)
	until(t, "the sidecar follows under its new name", func() bool {
		return strings.Join(far.edgesOf(s), " ") == "after"
	})
}

func TestTheMetricsTellOfTheFeed(t *testing.T) {
	far := newFarNode(t)
	s := startSidecar(t, far.url(), "", "")
	addr := freeport.Addr(t)
	s.mustLoad("talos {\nupstream "+far.url()+"\n}", strings.ReplaceAll(withMetrics, "METRICS", portOf(addr)))
	s.issue()
	until(t, "the sidecar has applied the change", func() bool {
		now := readMetrics(t, addr)
		lag, there := now["talos_feed_lag_seconds"]
		return now["talos_feed_position"] == 1 && there && lag < 30
	})
	s.mustLoad("talos {\nstorage sqlite://FOLDER/a.db\n}", strings.ReplaceAll(withMetrics, "METRICS", portOf(addr)))
	now := readMetrics(t, addr)
	if _, there := now["talos_edges"]; !there || now["talos_edges"] != 0 {
		t.Errorf("edges of a node: %v", now)
	}
	if _, there := now["talos_edge_confirm_seconds_count"]; !there {
		t.Error("there is no talos_edge_confirm_seconds")
	}
}
