package caddymodule_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
)

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// hook is a receiver of deliveries on this machine.
type hook struct {
	url string

	mu  sync.Mutex
	got []string // the bodies
	ids []string
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := new(hook)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.HasPrefix(r.Header.Get("Webhook-Signature"), "v1,") {
			t.Errorf("a delivery with the headers %v: %v", r.Header, err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got = append(h.got, string(body))
		h.ids = append(h.ids, r.Header.Get("Webhook-Id"))
	}))
	t.Cleanup(server.Close)
	h.url = server.URL + "/hook?token=of-the-url"
	return h
}

// deliveries are the bodies of all, and their ids.
func (h *hook) deliveries() (bodies, ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.got), slices.Clone(h.ids)
}

func TestAWebhookGetsEachChangeAcrossReloads(t *testing.T) {
	s := newSolo(t)
	h := newHook(t)
	t.Setenv("TALOS_TEST_HOOK_SECRET", hookSecret)
	addr := freeport.Addr(t)
	sites := strings.ReplaceAll(withMetrics, "METRICS", portOf(addr))
	load := func(quota int) {
		t.Helper()
		s.mustLoad(fmt.Sprintf("talos {\nstorage sqlite://FOLDER/a.db\nkey_quota %d\nwebhook %s {\n"+
			"secret {env.TALOS_TEST_HOOK_SECRET}\n}\n}", quota, h.url), sites)
	}
	load(10)
	host := strings.Split(h.url, "/")[2]
	delivered := fmt.Sprintf(`talos_webhook_deliveries_total{result="ok",webhook=%q}`, host)
	var issued []string
	for i := range 4 {
		id, _ := s.issue()
		issued = append(issued, id)
		load(10 + i/2) // the same node, or another
	}
	until(t, "all changes are delivered", func() bool {
		bodies, _ := h.deliveries()
		return len(bodies) >= len(issued)
	})
	bodies, ids := h.deliveries()
	all := strings.Join(bodies, "\n")
	for _, id := range issued {
		if !strings.Contains(all, `"key_id":"`+id+`"`) {
			t.Errorf("the creation of %s was not delivered", id)
		}
	}
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != len(issued) {
		t.Errorf("%d different ids for %d changes", n, len(issued))
	}
	until(t, "the metrics have the deliveries, and no lag", func() bool {
		now := readMetrics(t, addr)
		lag, known := now[fmt.Sprintf(`talos_webhook_lag_seconds{webhook=%q}`, host)]
		return now[delivered] >= float64(len(issued)) && known && lag == 0
	})
}
