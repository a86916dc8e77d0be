package adminapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

const reportPath = edgesPath + ":report"

// report is the body of a report of n uses of keys.
func report(n int, more string) string {
	var items []string
	for i := range n {
		items = append(items, fmt.Sprintf(`{"key_id":"k%d","time":"2026-08-01T00:00:00Z"}`, i))
	}
	return `{"edge_id":"e","last_used":[` + strings.Join(append(items, more), ",") + `]}`
}

func TestAReportOfUses_IsNotedAndShownWhenItIsWritten(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	id := n.issue(t, "").IssuedAPIKey.KeyID
	lines, position := n.audit.Len(), n.engine.Applied()
	body := `{"edge_id":"e","last_used":[{"key_id":"` + id + `","time":"2026-08-01T02:00:00+02:00"},` +
		`{"key_id":"unknown","time":"2026-08-01T00:00:00Z"}]}`
	if w := apitest.Post(n.admin, reportPath, body); w.Code != http.StatusOK || w.Body.String() != "{}\n" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if n.audit.Len() != lines || n.engine.Applied() != position {
		t.Error("the report is a change")
	}
	if err := n.store.RecordUse(t.Context(), n.uses.Drain()); err != nil {
		t.Fatal(err)
	}
	w := apitest.Get(n.admin, issuedPath+"/"+id)
	used := time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	if k := apitest.Unmarshal[client.Key](t, w.Body.Bytes()); !k.LastUsedTime.Equal(used) {
		t.Errorf("the record is %s", w.Body)
	}
	if w := apitest.Get(n.admin, issuedPath+"?filter=last_used_time%3C%222026-08-01T00:00:01Z%22"); !strings.Contains(
		w.Body.String(), id) {
		t.Errorf("the list is %s", w.Body)
	}
	if w := apitest.Get(n.admin, issuedPath+"?filter=last_used_time%3C%222026-08-01T00:00:00Z%22"); strings.Contains(
		w.Body.String(), id) {
		t.Errorf("the list is %s", w.Body)
	}
}

func TestAReportOfUses_WithATimeThatLiesAheadCountsForNow(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := time.Now()
	body := `{"last_used":[{"key_id":"k","time":"9999-01-01T00:00:00Z"}]}`
	if w := apitest.Post(n.admin, reportPath, body); w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	uses := n.uses.Drain()
	if len(uses) != 1 || uses[0].Time.Before(before) || uses[0].Time.After(time.Now()) {
		t.Errorf("got %v", uses)
	}
}

func TestAReportOfUses_IsRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, body := range []string{
		`{`, `[]`, `{"edge_id":1}`, `{"edge_id":"` + strings.Repeat("e", 65) + `"}`,
		`{"last_used":{}}`, `{"last_used":[1]}`,
		report(1, `{"key_id":"k"}`), report(1, `{"time":"2026-08-01T00:00:00Z"}`),
		report(1, `{"key_id":"a b","time":"2026-08-01T00:00:00Z"}`), report(1, `{"key_id":"k","time":"yesterday"}`),
		report(client.MaxUses, `{"key_id":"one-more","time":"2026-08-01T00:00:00Z"}`),
	} {
		apitest.WantError(t, apitest.Post(n.admin, reportPath, body), http.StatusBadRequest, core.BadRequest)
	}
	if uses := n.uses.Drain(); len(uses) != 0 {
		t.Errorf("%d uses were noted", len(uses))
	}
	full := report(client.MaxUses-1, `{"key_id":"last","time":"2026-08-01T00:00:00Z"}`)
	for _, body := range []string{`{}`, `{"last_used":null}`, `{"last_used":[]}`, full} {
		if w := apitest.Post(n.admin, reportPath, body); w.Code != http.StatusOK {
			t.Errorf("%.50s: %d %s", body, w.Code, w.Body)
		}
	}
	if uses := n.uses.Drain(); len(uses) != client.MaxUses {
		t.Errorf("%d uses were noted, want %d", len(uses), client.MaxUses)
	}
}
