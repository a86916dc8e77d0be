package doctor

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Differences of clocks. A file's time is coarse, and the header Date has seconds.
const (
	slightSkew  = 30 * time.Second
	seriousSkew = 5 * time.Minute
)

const clockFix = "set the clock (timedatectl status, chronyc tracking), and let a time service keep it right"

// checkClock compares the clock with what others have written. It finds a clock that is behind, or that was set back.
func checkClock(_ context.Context, s *subject) (found []Finding, skipped string) {
	if s.state == nil && len(s.answers) == 0 {
		return nil, "there is nothing to compare the clock with"
	}
	if s.state != nil {
		found = append(found, judgeTime("the last change in the database", s.state.Changed, s.now)...)
		for _, file := range s.state.Files {
			if info, err := os.Stat(file); err == nil {
				found = append(found, judgeTime("the file "+file, info.ModTime(), s.now)...)
			}
		}
	}
	for i := range s.answers {
		if a := &s.answers[i]; !a.date.IsZero() {
			found = append(found, judgeSkew(a.address, a.date.Sub(a.received))...)
		}
	}
	return found, ""
}

// judgeTime judges a time that cannot lie ahead.
func judgeTime(of string, at, now time.Time) []Finding {
	ahead := at.Sub(now)
	if ahead < slightSkew {
		return nil
	}
	severity := Warning
	if ahead >= seriousSkew {
		severity = Error
	}
	return []Finding{{
		Severity: severity,
		What: fmt.Sprintf("%s is from %s, %s ahead of this machine's clock",
			of, at.UTC().Format(time.RFC3339), round(ahead)),
		Why: "the clock is wrong now, or was then: keys expire too late or too early",
		Fix: clockFix,
	}}
}

// judgeSkew judges how far the clock of an upstream is ahead.
func judgeSkew(address string, ahead time.Duration) []Finding {
	by := ahead.Abs()
	if by < slightSkew {
		return nil
	}
	severity, direction := Warning, "ahead of"
	if by >= seriousSkew {
		severity = Error
	}
	if ahead < 0 {
		direction = "behind"
	}
	return []Finding{{
		Severity: severity,
		What:     fmt.Sprintf("the clock of the upstream %s is %s %s this machine's", address, round(by), direction),
		Why:      "a key expires at another time here than there",
		Fix:      clockFix,
	}}
}

func round(d time.Duration) time.Duration { return d.Round(time.Second) }
