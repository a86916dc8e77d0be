package outage

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// An outage is over when calls have succeeded for the settling time. One that begins within the quiet time after the
// last one doubles it, so something that fails again and again has one long outage.
const (
	minSettle = 5 * time.Second
	maxSettle = 5 * time.Minute
	quiet     = 10 * time.Minute
)

// Config says what is logged. All fields but Counts and Fields are required.
type Config struct {
	Logger *zap.Logger
	Level  zapcore.Level // of the line at the beginning; the end is logged at info
	Begins string        // the message at the beginning: what does not work, and what follows for requests
	Ends   string        // the message at the end
	Fields []zap.Field   // of the line at the beginning

	// Counts reads what requests came to. It may be called from any goroutine. nil: they are not logged.
	Counts func() Counts
}

// Counts are totals that only rise.
type Counts struct {
	Stale   uint64 // requests that were answered from what was known before, past its lifetime
	Refused uint64 // requests that could not be answered
}

// Watch follows one thing that may fail. Its methods may be called from several goroutines.
type Watch struct {
	config Config
	state  atomic.Uint32 // changes while mu is held

	mu       sync.Mutex
	began    time.Time
	before   Counts    // at began
	works    time.Time // since when calls succeed, while it settles
	at       Counts    // at works
	relapses int       // how often calls succeeded for a while that was too short
	settle   time.Duration
	ended    time.Time   // when the last outage was over; zero: there was none
	timer    *time.Timer // ends the outage; nil: there was none that might be over
}

// The states of a watch.
const (
	working  = iota // there is no outage
	failing         // there is an outage, and it was logged
	settling        // the same, and calls succeed
	closed
)

// New makes a watch over something that works. The caller closes it.
func New(c Config) *Watch {
	if c.Counts == nil {
		c.Counts = func() Counts { return Counts{} }
	}
	return &Watch{config: c}
}

// Active reports whether there is an outage that has been logged.
func (w *Watch) Active() bool {
	s := w.state.Load()
	return s == failing || s == settling
}

// Failed notes a call that failed. err holds no credential. During an outage it costs one atomic read.
func (w *Watch) Failed(err error) {
	if w.state.Load() == failing {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.state.Load() {
	case working:
		w.begin(err)
	case settling:
		w.timer.Stop()
		w.relapses++
		w.state.Store(failing)
	}
}

// begin logs an outage. mu is held.
func (w *Watch) begin(err error) {
	now := time.Now()
	if w.ended.IsZero() || now.Sub(w.ended) > quiet {
		w.settle = minSettle
	} else {
		w.settle = min(2*w.settle, maxSettle)
	}
	w.began, w.before, w.relapses = now, w.config.Counts(), 0
	w.state.Store(failing)
	fields := append([]zap.Field{zap.Error(err)}, w.config.Fields...)
	if entry := w.config.Logger.Check(w.config.Level, w.config.Begins); entry != nil {
		entry.Write(fields...)
	}
}

// Worked notes a call that succeeded. It costs one atomic read, unless it is the first one after a failure.
func (w *Watch) Worked() {
	if w.state.Load() != failing {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state.Load() != failing {
		return
	}
	w.works, w.at = time.Now(), w.config.Counts()
	w.state.Store(settling)
	if w.timer == nil {
		w.timer = time.AfterFunc(w.settle, w.settled)
	} else {
		w.timer.Reset(w.settle)
	}
}

// settled ends the outage, unless a call has failed meanwhile.
func (w *Watch) settled() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state.Load() != settling || time.Since(w.works) < w.settle {
		return
	}
	w.state.Store(working)
	w.ended = time.Now()
	fields := []zap.Field{
		zap.Duration("lasted", w.works.Sub(w.began)),
		zap.Uint64("served_stale", w.at.Stale-w.before.Stale),
		zap.Uint64("refused", w.at.Refused-w.before.Refused),
	}
	if w.relapses > 0 {
		fields = append(fields, zap.Int("relapses", w.relapses))
	}
	w.config.Logger.Info(w.config.Ends, fields...)
}

// Close ends the watch. It logs nothing more.
func (w *Watch) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.Store(closed)
	if w.timer != nil {
		w.timer.Stop()
	}
}
