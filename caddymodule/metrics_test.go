package caddymodule_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
)

const withMetrics = onlyAdmin + `
http://:METRICS {
	bind 127.0.0.1
	metrics
}`

// readMetrics returns our metrics by name and labels.
func readMetrics(t *testing.T, addr string) map[string]float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := exchange(t, req)
	if got.status != http.StatusOK {
		t.Fatalf("%d: %s", got.status, got.body)
	}
	values := map[string]float64{}
	for line := range strings.Lines(got.body) {
		name, text, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(name, "talos_") {
			continue
		}
		if values[name], err = strconv.ParseFloat(text, 64); err != nil {
			t.Fatal(line)
		}
	}
	return values
}

func TestMetricsKeepTheirValuesAcrossReloads(t *testing.T) {
	s := newSolo(t)
	addr := freeport.Addr(t)
	sites := strings.ReplaceAll(withMetrics, "METRICS", portOf(addr))
	const (
		admitted = `talos_gate_decisions_total{decision="admitted",network="",reason="ok"}`
		refused  = `talos_gate_decisions_total{decision="refused",network="",reason="invalid"}`
		hits     = `talos_cache_requests_total{result="hit"}`
		misses   = `talos_cache_requests_total{result="miss"}`
		created  = `talos_keys_changed_total{kind="created",network=""}`
	)
	s.mustLoad("talos {\nstorage sqlite://FOLDER/a.db\n}", sites)
	before := readMetrics(t, addr)
	for _, name := range []string{admitted, refused, hits, misses, created, "talos_cache_bytes", "talos_feed_position",
		"talos_limiter_fail_open_total",
		`talos_gate_decisions_total{decision="refused",network="",reason="rate_limited"}`} {
		if _, ok := before[name]; !ok {
			t.Errorf("%s is not there from the beginning", name)
		}
	}
	_, secret := s.issue()
	for range 3 {
		s.gated(secret)
	}
	s.gated("unknown")
	check := func(when string) {
		t.Helper()
		now := readMetrics(t, addr)
		for name, want := range map[string]float64{admitted: 3, refused: 1, created: 1} {
			if got := now[name] - before[name]; got != want {
				t.Errorf("%s, %s: rose by %v, want %v", when, name, got, want)
			}
		}
		if got := now[hits] + now[misses] - before[hits] - before[misses]; got != 4 {
			t.Errorf("%s: %v hits and misses, want 4", when, got)
		}
	}
	check("at once")
	if now := readMetrics(t, addr); now["talos_cache_entries"] == 0 || now["talos_feed_position"] != 1 ||
		now["talos_feed_lag_seconds"] > 60 {
		t.Errorf("gauges: %v", now)
	}
	s.mustLoad("talos {\nstorage sqlite://FOLDER/a.db\n}", sites+"\n")
	check("after a reload that keeps the node")
	s.mustLoad("talos {\nstorage sqlite://FOLDER/b.db\n}", sites)
	check("after a reload to another database")
	s.stop()
	s.mustLoad("talos {\nstorage sqlite://FOLDER/b.db\n}", sites)
	check("after a stop")
	if now := readMetrics(t, addr); now["talos_cache_entries"] != 0 || now["talos_feed_position"] != 0 {
		t.Errorf("gauges of the new database: %v", now)
	}
}
