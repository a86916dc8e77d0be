package sidecar

import (
	"net/http"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
)

func TestASidecarNotesTheUsesThatItsOwnEdgesReport(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	s.answers(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the report reached the upstream: %s", r.URL) })
	w := apitest.Post(s.admin, "/v2alpha1/admin/edges:report",
		`{"edge_id":"e","last_used":[{"key_id":"k","time":"2026-08-01T00:00:00Z"}]}`)
	if w.Code != http.StatusOK {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if uses := s.uses.Drain(); len(uses) != 1 || uses[0].KeyID != "k" {
		t.Errorf("got %v", uses)
	}
}
