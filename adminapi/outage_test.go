package adminapi

import (
	"net/http"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
)

func TestCallsThatFailInAnOutageAreOneLineInTenSecondsAndNoneOnceItWasLogged(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.store.SetDown(apitest.ErrDown())
	lines := func() int { return strings.Count(n.logs.String(), `"level":"error"`) }
	calls := func() {
		t.Helper()
		for range 20 {
			for _, w := range []int{
				apitest.Get(n.admin, readyPath).Code, apitest.Get(n.publicHandler(), readyPath).Code,
				apitest.Get(n.admin, issuedPath).Code, n.selfRevoke("guess").Code,
				apitest.Post(n.admin, anyPath+":verify", `{"credential":"x"}`).Code,
			} {
				if w != http.StatusServiceUnavailable {
					t.Fatalf("got %d", w)
				}
			}
		}
	}
	calls()
	if got := lines(); got != 2 { // one of each surface
		t.Errorf("%d lines at error", got)
	}
	n.mu.Lock()
	n.outage = true
	n.mu.Unlock()
	before := lines()
	calls()
	if got := lines() - before; got != 0 {
		t.Errorf("%d lines at error, although the outage was logged", got)
	}
}
