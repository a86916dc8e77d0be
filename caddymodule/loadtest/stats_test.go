package main

import (
	"math"
	"slices"
	"testing"
)

func TestSpreadIsMedianAndQuartilesWhateverTheOrder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		samples []float64
		want    spread
	}{
		{"one", []float64{7}, spread{7, 7, 7}},
		{"two", []float64{4, 2}, spread{2.5, 3, 3.5}},
		{"odd count", []float64{5, 1, 4, 2, 3}, spread{2, 3, 4}},
		{"even count", []float64{4, 3, 2, 1}, spread{1.75, 2.5, 3.25}},
		{"one outlier moves nothing", []float64{1, 1, 1, 1, 1000}, spread{1, 1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(tt.samples)
			if got := spreadOf(tt.samples); got != tt.want {
				t.Errorf("spreadOf(%v) = %v, want %v", tt.samples, got, tt.want)
			}
			if !slices.Equal(before, tt.samples) {
				t.Errorf("the samples were reordered to %v", tt.samples)
			}
		})
	}
}

func TestSpreadOfNothingIsNotANumber(t *testing.T) {
	t.Parallel()
	if s := spreadOf(nil); !math.IsNaN(s.Q1) || !math.IsNaN(s.Median) || !math.IsNaN(s.Q3) {
		t.Errorf("spreadOf(nil) = %v, want NaN", s)
	}
}

func TestOrderRotatesSoThatEachVariantHasEachPlace(t *testing.T) {
	t.Parallel()
	items := []string{"A", "B", "C"}
	for r, want := range [][]string{{"A", "B", "C"}, {"B", "C", "A"}, {"C", "A", "B"}, {"A", "B", "C"}} {
		if got := rotated(items, r); !slices.Equal(got, want) {
			t.Errorf("round %d: %v, want %v", r, got, want)
		}
	}
	if want := []string{"A", "B", "C"}; !slices.Equal(items, want) {
		t.Errorf("the variants themselves were reordered to %v", items)
	}
	if got := rotated([]string(nil), 3); len(got) != 0 {
		t.Errorf("nothing rotated is %v", got)
	}
}

func TestRatiosAreTakenWithinTheRound(t *testing.T) {
	t.Parallel()
	// The machine halves its speed after the first round; the variants keep their ratio.
	got := combine([]float64{90, 45, math.NaN(), 1}, []float64{100, 50, 50, 0}, ratio)
	if want := []float64{0.9, 0.9}; !slices.Equal(got, want) {
		t.Errorf("ratios %v, want %v without the rounds that have none", got, want)
	}
	if got := combine([]float64{5, 7}, []float64{4}, difference); !slices.Equal(got, []float64{1}) {
		t.Errorf("differences %v, want [1]", got)
	}
}
