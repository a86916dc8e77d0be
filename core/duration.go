package core

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The units of [ParseDuration] that Go's own notation lacks. A month is 30 days and a year 365.
const (
	day   = 24 * time.Hour
	week  = 7 * day
	month = 30 * day
	year  = 365 * day
)

var errDuration = errors.New(`must be a duration such as "3600s", "1h30m", "30d" or "1y6mo"`)

// ParseDuration reads a duration in the protobuf form (3600s), in Go's (1h30m) or with days, weeks, months and years
// (1d, 1w, 1mo, 1y), also compound (1y6mo) and with fractions (1.5h). A bare 0 is zero. A negative duration, an unknown
// unit and one that does not fit (over 292 years) are errors. It is the only reader of durations in the project.
func ParseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	if s == "" {
		return 0, errDuration
	}
	var total float64
	var exact time.Duration
	for s != "" {
		n := countWhile(s, func(c byte) bool { return c >= '0' && c <= '9' || c == '.' })
		u := countWhile(s[n:], func(c byte) bool { return c != '.' && (c < '0' || c > '9') })
		unit, ok := unitOf(s[n : n+u])
		if n == 0 || !ok {
			return 0, errDuration
		}
		amount, err := strconv.ParseFloat(s[:n], 64)
		if err != nil {
			return 0, errDuration
		}
		total += amount * float64(unit)
		if total >= math.MaxInt64 {
			return 0, fmt.Errorf("duration is longer than 292 years: %w", errDuration)
		}
		exact += exactly(s[:n], unit)
		s = s[n+u:]
	}
	return exact, nil
}

// exactly is an amount of a unit that is known to be a number and to fit. Only what follows the point goes
// through a float64, which could not tell the nanoseconds of a year apart.
func exactly(amount string, unit time.Duration) time.Duration {
	before, behind, _ := strings.Cut(amount, ".")
	whole, _ := strconv.ParseInt(before, 10, 64) // none before the point is 0
	fraction, _ := strconv.ParseFloat("0."+behind, 64)
	return time.Duration(whole)*unit + time.Duration(math.Round(fraction*float64(unit)))
}

// FormatSeconds writes a duration as the API does: in seconds, with a fraction where there is one ("60s", "0.5s").
func FormatSeconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}

func countWhile(s string, ok func(byte) bool) int {
	n := 0
	for n < len(s) && ok(s[n]) {
		n++
	}
	return n
}

func unitOf(s string) (time.Duration, bool) {
	switch s {
	case "ns":
		return time.Nanosecond, true
	case "us", "µs":
		return time.Microsecond, true
	case "ms":
		return time.Millisecond, true
	case "s":
		return time.Second, true
	case "m":
		return time.Minute, true
	case "h":
		return time.Hour, true
	case "d":
		return day, true
	case "w":
		return week, true
	case "mo":
		return month, true
	case "y":
		return year, true
	default:
		return 0, false
	}
}
