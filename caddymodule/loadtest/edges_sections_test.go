package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestSectionsOfEdgesFailTheRunWhenTheyAreWrong(t *testing.T) {
	t.Parallel()
	three := spread{3, 3, 3}
	awake := asleep{Good: http.StatusOK, Revoked: http.StatusUnauthorized}
	for _, tt := range []struct {
		section section
		wrong   string
	}{
		{&revocationResult{Edges: 3, Confirmed: three, After: answers{Refused: 9}, Load: answers{Good: 5}}, ""},
		{
			&revocationResult{Edges: 3, Confirmed: three, After: answers{Refused: 8, Good: 1}},
			"1 requests with a revoked key, sent after its confirmation, were admitted",
		},
		{&revocationResult{Edges: 4, Confirmed: three}, "not 4 edges"},
		{&revocationResult{Edges: 4, Confirmed: three, Unconfirmed: 1}, ""},
		{
			&revocationResult{Edges: 3, Confirmed: three, Load: answers{Refused: 1, Unavailable: 1}},
			"2 requests of the load",
		},
		{&backlogResult{Changes: 10, Keys: 1, Readers: 2, Seen: 22, Asleep: awake}, ""},
		{&backlogResult{Changes: 10, Keys: 1, Readers: 2, Seen: 21, Asleep: awake}, "21 changes together, and not 22"},
		{&backlogResult{Asleep: asleep{Good: 200, Revoked: 200}}, "a revoked one with 200"},
		{&backlogResult{Asleep: asleep{Good: 401, Revoked: 401}}, "a good key with 401"},
		{&backlogResult{Asleep: asleep{Skipped: true}}, ""},
		{&readersResult{Readers: 3, Confirmed: three}, ""},
		{&readersResult{Readers: 4, Confirmed: three}, "not 4 edges"},
		{&costResult{}, ""},
		{&costResult{Failed: 1}, "1 requests failed"},
	} {
		err := tt.section.wrong()
		if tt.wrong == "" && err != nil || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
			t.Errorf("%+v: %v, want %q", tt.section, err, tt.wrong)
		}
	}
}

func TestEachSectionOfEdgesPrintsATable(t *testing.T) {
	t.Parallel()
	one := spread{1, 1, 1}
	d := distribution{N: 15, P50: 1, P90: 2, P99: 3, Max: 4}
	for _, tt := range []struct {
		section section
		want    []string
	}{
		{&revocationResult{Edges: 3, LoadRate: 20, Refused: d, NodeMemory: -1, GOGC: "400"}, []string{
			"all 3 edges", "15 1.00 2.00 3.00 4.00 ≤ 50", "admitted 0 must be 0", "the node n/a", "(GOGC 400,",
		}},
		{&backlogResult{
			Changes: 3000, Readers: 3, CPU: 2, Seen: 4, MemoryMost: 3 << 20, Asleep: asleep{Changes: 3001},
		}, []string{
			"3000 keys imported in calls of 1000, read by 3 edges", "0.0, 3.0, 0.0 MiB", "slept through 3001 changes",
			"2.00 s (500000.0 µs for a change",
		}},
		{&backlogResult{Asleep: asleep{Skipped: true}}, []string{"not measured on this system"}},
		{&readersResult{
			Readers: 100, Wanted: 200, Phase: 30, Changes: 30, NoneCPU: 1, IdleCPU: 2, BusyCPU: 5,
			MemoryBefore: 50 << 20, MemoryIdle: 60 << 20, MemoryBusy: 70 << 20, MemoryMost: 80 << 20, Waited: d,
		}, []string{
			"CPU ms/s 1.0 2.0 5.0 0.0100 0.0300 100 400",
			"(at most 80.0) 50.0 60.0 70.0 0.1000 0.2000 (in all) 1000 2000", "200 edges were asked for",
		}},
		{&readersResult{NoneCPU: -1, MemoryBefore: -1}, []string{"CPU n/a", "resident memory n/a"}},
		{&costResult{
			Rounds: 2, Slot: "1s", Conns: 64, Edges: 50, Issues: 2000, AtOnce: 32,
			Requests: []row{{Name: following, Rate: &one}}, Rows: []issuesRow{{Name: issuesAlone, Rate: &one}},
			Pairs: []comparison{{What: "a / b", Value: &one, Goal: "≥ 0.99"}},
		}, []string{
			"following 1 (1–1) n/a", "now 1 (1–1) n/a", "a / b 1.000 (1.000–1.000) ≥ 0.99", "50 processes follow",
		}},
	} {
		var text strings.Builder
		if err := writeSection(&text, tt.section); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(strings.Fields(text.String()), " ")
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("%T: no %q in\n%s", tt.section, want, text.String())
			}
		}
	}
}

func TestIssuesAreComparedWithTheNodeBefore(t *testing.T) {
	t.Parallel()
	c := new(costResult)
	c.compareIssues([]*issuer{
		{name: "a", rate: []float64{100, 200}, cpu: []float64{10, 12}},
		{name: "b", rate: []float64{50, 100}, cpu: []float64{13, 15}},
	})
	if len(c.Rows) != 2 || len(c.IssuePairs) != 2 || c.IssuePairs[0].Value.Median != 0.5 ||
		c.IssuePairs[1].Value.Median != 3 {
		t.Errorf("%s", fmt.Sprint(c.Rows, c.IssuePairs))
	}
}
