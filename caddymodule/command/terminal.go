package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// isTerminal reports whether a stream of the process is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// askSecret asks the terminal for a secret, which it does not show.
func askSecret(cmd *cobra.Command, question string) (string, error) {
	cmd.PrintErr(question)
	secret, err := term.ReadPassword(int(os.Stdin.Fd()))
	cmd.PrintErrln()
	if err == nil && len(secret) == 0 {
		err = errors.New("nothing was entered")
	}
	return string(secret), err
}

// times is how times are printed: on a terminal as distances from now, else in RFC 3339.
type times struct{ now time.Time } // zero: in RFC 3339

// timesFor is how times are printed to w.
func timesFor(w io.Writer) times {
	if isTerminal(w) {
		return times{time.Now()}
	}
	return times{}
}

// at prints a time; the zero time is nothing.
func (p times) at(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case p.now.IsZero():
		return t.UTC().Format(time.RFC3339)
	default:
		return distance(t, p.now)
	}
}

// expiry prints when something ends: the zero time means never.
func (p times) expiry(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return p.at(t)
}

// units are the units of distances, the longest first. A month has 30 days and a year 365, as in durations.
var units = []struct {
	name   string
	length time.Duration
}{
	{"year", 365 * day}, {"month", 30 * day}, {"day", day},
	{"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second},
}

const day = 24 * time.Hour

// distance says in one unit how far from now a time is, to the nearest one.
func distance(t, now time.Time) string {
	d := t.Sub(now).Abs()
	for _, u := range units {
		if d < u.length {
			continue
		}
		n := int64((d + u.length/2) / u.length)
		text := fmt.Sprintf("%d %s", n, u.name)
		if n > 1 {
			text += "s"
		}
		if t.After(now) {
			return "in " + text
		}
		return text + " ago"
	}
	return "now"
}
