package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

// twoVariants is a bench that has measured bare and gate-1, for two rounds.
func twoVariants() (*bench, map[string]*series) {
	b := &bench{options: options{rounds: 2, slot: time.Second, conns: 64, keys: 10}}
	for _, v := range standardVariants(10)[:2] {
		b.proxies = append(b.proxies, &proxy{variant: v})
	}
	return b, map[string]*series{
		bare: {
			rate: []float64{1000, 500}, p50: []float64{40, 42}, requests: 1500,
			cpu: 150 * time.Millisecond, cpuKnown: true,
			after: collector{gogc: 400, limit: math.MaxInt64, cycles: 3},
		},
		gateOne: {
			rate: []float64{990, 485}, p50: []float64{43, 45}, requests: 1475, failures: 1, first: "status 503",
			after: collector{gogc: math.MaxUint64, limit: 64 << 20},
		},
	}
}

func TestReportComparesWithinRoundsBesideTheGoal(t *testing.T) {
	t.Parallel()
	b, all := twoVariants()
	r := b.report(all)
	var text strings.Builder
	if err := r.writeText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"bare 750 (625–875) 100.0 41.0 n/a 2.00 400 off 0",
		"gate-1 738 (611–864) n/a 44.0 n/a 0.00 off 64MiB 1 status 503",
		"gate-1 / bare 0.980 (0.975–0.985) ≥ 0.98",
		"gate-1 − bare, p50 at one connection 3.0 (3.0–3.0) µs ≤ 5",
	} {
		if !strings.Contains(strings.Join(strings.Fields(text.String()), " "), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "/ "+stock) {
		t.Errorf("compares with a variant that did not run:\n%s", text.String())
	}
	if r.failed() != 1 {
		t.Errorf("%d failed, want 1", r.failed())
	}
}

func TestReportIsJSONAlsoWithoutFigures(t *testing.T) {
	t.Parallel()
	b, all := twoVariants()
	all[gateOne].rate = []float64{math.NaN(), math.NaN()} // every request failed
	var text strings.Builder
	if err := b.report(all).writeJSON(&text); err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal([]byte(text.String()), &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Rows) != 2 || back.Rows[1].Rate != nil || back.Rows[1].CPU != nil || back.Pairs[0].Value != nil {
		t.Errorf("figures that nobody measured: %s", text.String())
	}
}
