package main

import (
	"math"
	"slices"
)

// A spread is the median of some samples and the quartiles around it.
type spread struct {
	Q1     float64 `json:"q1"`
	Median float64 `json:"median"`
	Q3     float64 `json:"q3"`
}

// spreadOf describes samples, which it leaves as they are. Without samples, all three are NaN.
func spreadOf(samples []float64) spread {
	sorted := slices.Sorted(slices.Values(samples))
	return spread{Q1: quantile(sorted, 0.25), Median: quantile(sorted, 0.5), Q3: quantile(sorted, 0.75)}
}

// quantile reads the quantile q (0 to 1) off samples in ascending order, between two neighbours by linear
// interpolation (type 7 of Hyndman and Fan, what spreadsheets and R do).
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}

// rotated gives the order of round r: every entry once, begun r places further on, so that no variant always has the
// same place in a round.
func rotated[T any](items []T, r int) []T {
	if len(items) == 0 {
		return nil
	}
	at := r % len(items)
	return append(append(make([]T, 0, len(items)), items[at:]...), items[:at]...)
}

// combine joins two series of one value a round, round by round. Rounds in which either has nothing (NaN) or in which f
// gives no number are left out.
func combine(a, b []float64, f func(a, b float64) float64) []float64 {
	n := min(len(a), len(b))
	out := make([]float64, 0, n)
	b = b[:n]
	for i, x := range a[:n] {
		if v := f(x, b[i]); !math.IsNaN(v) && !math.IsInf(v, 0) {
			out = append(out, v)
		}
	}
	return out
}

func ratio(a, b float64) float64      { return a / b }
func difference(a, b float64) float64 { return a - b }
