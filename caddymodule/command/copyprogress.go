package command

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/talos-edge/talos-edge/storage"
)

// copyProgress reports on standard error how far a copy is: on a terminal in one line that changes, else in few lines.
type copyProgress struct {
	w         io.Writer
	terminal  bool
	now       func() time.Time
	following atomic.Bool

	step  string
	begin time.Time // of the step
	line  time.Time // when the last plain line was due
	shown bool
}

// lineInterval is the time between two plain lines.
const lineInterval = 10 * time.Second

func newCopyProgress(w io.Writer) *copyProgress {
	return &copyProgress{w: w, terminal: isTerminal(w), now: time.Now, line: time.Now()}
}

func (p *copyProgress) show(at storage.CopyProgress) {
	now := p.now()
	first := at.Step != p.step
	if first {
		p.step, p.begin = at.Step, now
	}
	follows := at.Step == "follow"
	before := p.following.Swap(p.following.Load() || follows) // who reads the line may send a signal at once
	switch {
	case p.terminal:
		p.shown = true
		_, _ = fmt.Fprint(p.w, clearLine, p.text(&at, now), " …")
	case follows && first && !before, now.Sub(p.line) >= lineInterval:
		p.line = now
		_, _ = fmt.Fprintln(p.w, p.text(&at, now))
	}
}

func (p *copyProgress) text(at *storage.CopyProgress, now time.Time) string {
	if at.Step == "follow" {
		text := fmt.Sprintf("following, %d changes behind", at.Total-at.Done)
		if at.Nodes > 0 {
			text += fmt.Sprintf("; nodes on the source: %d", at.Nodes)
		}
		return text
	}
	text := fmt.Sprintf("%s: %d", at.Step, at.Done)
	if at.Total > 0 {
		text += fmt.Sprintf(" of %d", at.Total)
	}
	if passed := now.Sub(p.begin).Seconds(); passed >= 1 {
		text += fmt.Sprintf(", %.0f rows/s", float64(at.Done)/passed)
	}
	return text
}

func (p *copyProgress) clear() {
	if p.shown {
		p.shown = false
		_, _ = fmt.Fprint(p.w, clearLine)
	}
}
