package command

import (
	"fmt"
	"io"
	"time"
)

// progress reports on standard error how far an import is: on a terminal in one line that changes, else in lines that
// are few however many keys there are.
type progress struct {
	w        io.Writer // nil: nothing is written
	terminal bool
	total    int // keys to import; less than 1: not known
	now      func() time.Time
	begin    time.Time
	shown    bool
	mark     int // keys at which the next plain line is due
}

// firstMark is how many keys an import has at least of which plain lines are written.
const firstMark = 10_000

func newProgress(w io.Writer, quiet bool, total int) *progress {
	p := &progress{w: w, terminal: isTerminal(w), total: total, now: time.Now, mark: firstMark}
	if quiet {
		p.w = nil
	}
	p.begin = p.now()
	return p
}

// clearLine goes to the begin of a terminal's line and empties it.
const clearLine = "\r\x1b[K"

func (p *progress) show(n *importCounts) {
	done := n.imported + n.existed + n.failed
	switch {
	case p.w == nil:
	case p.terminal:
		p.shown = true
		_, _ = fmt.Fprint(p.w, clearLine, p.text(n, done), " …")
	case done >= p.mark:
		if p.mark = 2 * done; p.total > 0 {
			p.mark = done + p.total/10
		}
		_, _ = fmt.Fprintln(p.w, p.text(n, done))
	}
}

// text says how many keys are done, of how many, and when the rest will be if it takes as long for each.
func (p *progress) text(n *importCounts, done int) string {
	if p.total < 1 {
		return n.String()
	}
	left := max(p.total-done, 0)
	text := fmt.Sprintf("%d of %d keys: %s", done, p.total, n)
	if done > 0 && left > 0 {
		rest := p.now().Sub(p.begin) / time.Duration(done) * time.Duration(left)
		text += fmt.Sprintf("; %s left", max(rest.Round(time.Second), time.Second))
	}
	return text
}

func (p *progress) clear() {
	if p.shown {
		p.shown = false
		_, _ = fmt.Fprint(p.w, clearLine)
	}
}
