package outage_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi/outage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("connection refused")

// maxSettle is the longest time for which calls have to succeed before the end is logged.
const maxSettle = 5 * time.Minute

// watch is a watch with the log that it writes to.
type watch struct {
	*outage.Watch
	logs   *observer.ObservedLogs
	counts outage.Counts
}

// inBubble runs a test on a clock of its own.
func inBubble(t *testing.T, test func(t *testing.T, w *watch)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		w := &watch{logs: logs}
		w.Watch = outage.New(outage.Config{
			Logger: zap.New(core), Level: zap.ErrorLevel, Begins: "it fails", Ends: "it works again",
			Fields: []zap.Field{zap.String("window", "5m")}, Counts: func() outage.Counts { return w.counts },
		})
		defer w.Close()
		test(t, w)
	})
}

// after lets time pass.
func (w *watch) after(d time.Duration) *watch {
	time.Sleep(d)
	synctest.Wait()
	return w
}

// messages are those of the log, in order.
func (w *watch) messages() (all []string) {
	for _, e := range w.logs.All() {
		all = append(all, e.Message)
	}
	return all
}

func (w *watch) wants(t *testing.T, when string, want ...string) {
	t.Helper()
	if got := w.messages(); !slices.Equal(got, want) {
		t.Errorf("%s: the log has %q, want %q", when, got, want)
	}
}

func TestAnOutageIsLoggedOnceWhenItBeginsAndOnceWhenItEnds(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *watch) {
		t.Helper()
		w.Worked()
		w.wants(t, "before")
		w.counts = outage.Counts{Stale: 7, Refused: 3}
		for range 1000 {
			w.Failed(errDown)
			w.after(30 * time.Millisecond)
		}
		w.wants(t, "while it lasts", "it fails")
		if !w.Active() {
			t.Error("it is not active")
		}
		w.counts = outage.Counts{Stale: 107, Refused: 5}
		w.Worked()
		w.counts = outage.Counts{Stale: 107, Refused: 6} // not because of the outage
		w.after(5*time.Second - 1)
		w.wants(t, "before it is sure", "it fails")
		w.Worked()
		w.after(1)
		w.wants(t, "after", "it fails", "it works again")
		if w.Active() {
			t.Error("it is still active")
		}
		begin, end := w.logs.All()[0], w.logs.All()[1]
		if begin.Level != zap.ErrorLevel || end.Level != zap.InfoLevel {
			t.Errorf("levels %s and %s", begin.Level, end.Level)
		}
		if f := begin.ContextMap(); f["error"] != errDown.Error() || f["window"] != "5m" {
			t.Errorf("the beginning has %v", f)
		}
		f := end.ContextMap()
		if f["lasted"] != 30*time.Second || f["served_stale"] != uint64(100) || f["refused"] != uint64(2) {
			t.Errorf("the end has %v", f)
		}
		if _, there := f["relapses"]; there {
			t.Errorf("it has relapsed: %v", f)
		}
	})
}

// wantsShortOutage has one call fail and the next one succeed, and checks that the end is logged without a further
// call.
func (w *watch) wantsShortOutage(t *testing.T) {
	t.Helper()
	w.logs.TakeAll()
	w.Failed(errDown)
	w.Worked()
	w.after(5*time.Second).wants(t, "after", "it fails", "it works again")
}

func TestTheEndIsLoggedWithoutAFurtherCall(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *watch) {
		t.Helper()
		w.wantsShortOutage(t)
	})
}

// Something that comes and goes at any pace writes a few lines, and then none until it keeps working or failing.
func TestFlappingIsBounded(t *testing.T) {
	t.Parallel()
	for _, pace := range []time.Duration{100 * time.Millisecond, 6 * time.Second, time.Minute, 4 * time.Minute} {
		inBubble(t, func(t *testing.T, w *watch) {
			t.Helper()
			for began := time.Now(); time.Since(began) < 4*time.Hour; {
				w.Failed(errDown)
				w.after(pace)
				w.Worked()
				w.after(pace)
			}
			if n := len(w.messages()); n > 14 || n == 0 {
				t.Errorf("%d lines in four hours at a pace of %s", n, pace)
			}
			w.after(maxSettle)
			all := w.logs.All()
			last := all[len(all)-1]
			if last.Message != "it works again" {
				t.Errorf("at a pace of %s the end is %q", pace, last.Message)
			}
			if pace < 2*time.Minute && last.ContextMap()["relapses"] == nil {
				t.Errorf("the last line has no relapses: %v", last.ContextMap())
			}
		})
	}
}

func TestAfterAQuietTimeTheEndIsLoggedSoonAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *watch) {
		t.Helper()
		for range 5 {
			w.Failed(errDown)
			w.Worked()
			w.after(maxSettle)
		}
		w.after(11 * time.Minute)
		w.wantsShortOutage(t)
	})
}

func TestAClosedWatchLogsNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *watch) {
		t.Helper()
		w.Failed(errDown)
		w.Worked()
		w.Close()
		w.Failed(errDown)
		w.Worked()
		w.after(time.Hour).wants(t, "after", "it fails")
		if w.Active() {
			t.Error("it is active")
		}
	})
}
