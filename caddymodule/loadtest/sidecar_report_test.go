package main

import (
	"strings"
	"testing"
)

func TestEachSectionPrintsATable(t *testing.T) {
	t.Parallel()
	one := spread{1, 1, 1}
	for _, tt := range []struct {
		section section
		want    []string
	}{
		{&bursts{Keys: 10_000, AtOnce: 256, RoundTrip: 20, Rounds: 3, Rows: []*burstRow{
			{Name: "batched", Calls: spread{130, 131, 132}, Keys: one, Rate: one, P50: one, P99: one},
		}}, []string{"10000 distinct keys", "batched 131 (130–132)", "n/a", "≤ 160", "≤ 60"}},
		{&loneliness{RoundTrip: 20, Misses: 100, Rounds: 3, Look: one},
			[]string{"one every 20 ms", "(miss − upstream − hit) 1 (1–1)"}},
		{&hitRows{Rows: []hitRow{{
			Skew: 1, Keys: 100, Requests: 200, MaxSize: smallestCache, Room: 10, Hits: .5, LRU: .25,
		}}},
			[]string{"1.0 100 200 4.0 MiB 10 10.0 % 50.0 % 25.0 % 0.0 % 0.0 %"}},
		{&outageResult{Keys: 9, Down: 5, Seconds: []outageSecond{{second: second{Known: answers{Good: 7}}, Calls: 3}}},
			[]string{"killed at 5.00 s", "9 known keys", "0 7 0 0 0 0 0 0 0 0.0 3 0 0 0 0"}},
		{&abuseResult{
			Wanted: 10_000, Files: 1024, MaxWait: 20, Most: gauges{Queue: 20, Resident: 3 << 20},
			abuse: abuse{Open: 17},
		},
			[]string{"17 connections for", "10000 connections were wanted; a process here may open 1024 files",
				"in the queue 0 20 0", "resident MiB n/a 3 n/a"}},
		{&overloads{Rows: []overloadRow{{
			Far: 80, Case: overloadKnown, Capacity: 1250, Seconds: 2, Calls: 4, Asked: 390,
			Unknown: flood{answers: answers{Refused: 20, Unavailable: 6}, Offered: 30, Unsent: 4},
			Known:   flood{answers: answers{Good: 9}},
		}}},
			[]string{"80 ms known keys beside 1250 97.5 15 10 3 2 0 0 0 9 0 0.0 0"}},
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
