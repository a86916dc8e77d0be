package core_test

import (
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

func TestParseDuration_ReadsTheThreeNotations(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{
		"0":            0,
		"0s":           0,
		"3600s":        time.Hour,
		"1.5s":         1500 * time.Millisecond,
		"1h30m":        90 * time.Minute,
		"1d":           day,
		"1w":           7 * day,
		"1mo":          30 * day,
		"1y":           365 * day,
		"1y6mo":        545 * day,
		"1m1ms":        time.Minute + time.Millisecond,
		"2us3ns":       2003 * time.Nanosecond,
		"8760h":        8760 * time.Hour,
		"315360000s":   core.MaxTTL,
		"0.000000001s": time.Nanosecond,
		".5h":          30 * time.Minute,
		"1.h":          time.Hour,
		"0.1y":         876 * time.Hour,

		"31536000.000000001s":  365*day + time.Nanosecond,
		"315360000.999999999s": core.MaxTTL + time.Second - time.Nanosecond,
	} {
		if got, err := core.ParseDuration(s); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "1", "s", "-1s", "+1s", "1 s", " 1s", "1s ", "1.2.3s", "1S", "1month", "1e3s", "1h-30m", "300y",
		"9999999999999999999s", ".s", "1_000s",
	} {
		if got, err := core.ParseDuration(s); err == nil {
			t.Errorf("%q: read as %v instead of an error", s, got)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"1h30m", "1y6mo", "0.5s", "1m1mo1ms", "-1s", "292y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := core.ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("%q is negative: %v", s, d)
		}
		// Where Go's own notation reads the same text, it is the same duration.
		if want, err := time.ParseDuration(s); err == nil {
			if diff := (d - want).Abs(); diff > time.Microsecond {
				t.Fatalf("%q: %v, and in Go's own notation %v", s, d, want)
			}
		}
		back, err := core.ParseDuration(core.FormatSeconds(d))
		if err != nil || (back-d).Abs() > d/1e9+time.Nanosecond {
			t.Fatalf("%q: written as %q, read back as %v, %v", s, core.FormatSeconds(d), back, err)
		}
	})
}
