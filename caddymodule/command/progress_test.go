package command

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestATerminalShowsHowManyOfHowManyAndTheTimeLeft(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := newProgress(&b, false, 5000)
	p.terminal = true
	p.now = func() time.Time { return p.begin.Add(2 * time.Second) }
	p.show(&importCounts{imported: 900, existed: 60, failed: 40})
	p.clear()
	want := "\r\x1b[K1000 of 5000 keys: imported 900, already there 60, failed 40; 8s left …\r\x1b[K"
	if got := b.String(); got != want {
		t.Errorf("a terminal shows %q, want %q", got, want)
	}
	b.Reset()
	p.total = -1 // standard input
	p.show(&importCounts{imported: 5, failed: 1})
	p.clear()
	if got := b.String(); got != "\r\x1b[Kimported 5, already there 0, failed 1 …\r\x1b[K" {
		t.Errorf("without a total it shows %q", got)
	}
}

func TestALogGetsFewLinesHoweverManyKeysThereAre(t *testing.T) {
	t.Parallel()
	for total, most := range map[int]int{-1: 8, 1_000_000: 11, 5000: 0} {
		var b bytes.Buffer
		p := newProgress(&b, false, total)
		n := importCounts{}
		for n.imported < max(total, 1_000_000) && n.imported < 5000 || total != 5000 && n.imported < 1_000_000 {
			n.imported += 1000
			p.show(&n)
		}
		p.clear()
		if lines := strings.Count(b.String(), "\n"); lines > most || most > 0 && lines < most/2 {
			t.Errorf("of %d keys: %d lines\n%s", total, lines, b.String())
		}
		if strings.Contains(b.String(), "\x1b") {
			t.Error("control characters in a log")
		}
	}
	var b bytes.Buffer
	newProgress(&b, true, 1_000_000).show(&importCounts{imported: 1_000_000})
	if b.Len() > 0 {
		t.Errorf("with --quiet it shows %q", b.String())
	}
}

func sprint(v any) string { return fmt.Sprint(v) }
