package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi/outage"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// ErrOutage marks an error that is part of an outage which has been logged. It is wrapped into the error.
var ErrOutage = errors.New("the log has a line from the beginning of the outage")

// marked marks an error if there is an outage.
func marked(err error, outage bool) error {
	if err == nil || !outage {
		return err
	}
	return fmt.Errorf("%w (%w)", err, ErrOutage)
}

// databaseWatch logs when a database fails, and when it works again.
type databaseWatch struct {
	lookUps *outage.Watch // it does not answer look-ups
	changes *outage.Watch // it does not say which keys have changed
}

// newDatabaseWatch makes a watch over a database for a verifier with the settings.
func newDatabaseWatch(logger *zap.Logger, cache *verify.Config, counts func() outage.Counts) *databaseWatch {
	return &databaseWatch{
		lookUps: outage.New(outage.Config{
			Logger: logger,
			Level:  zap.ErrorLevel,
			Begins: "the database does not answer: keys that are in the cache are admitted until stale_if_error " +
				"after their lifetime there, and what has to be looked up is refused with 503",
			Ends:   "the database answers again",
			Fields: []zap.Field{zap.Duration("stale_if_error", staleWindow(cache))},
			Counts: counts,
		}),
		changes: outage.New(outage.Config{
			Logger: logger,
			Level:  zap.ErrorLevel,
			Begins: "which keys have changed cannot be read from the database: every credential is refused with 503, " +
				"also what is in the cache",
			Ends:   "changes can be read from the database again",
			Counts: counts,
		}),
	}
}

// SourceAnswered notes an answer.
func (w *databaseWatch) SourceAnswered() {
	w.lookUps.Worked()
	w.changes.Worked()
}

// SourceFailed notes a failure, unless it is one of a single key.
func (w *databaseWatch) SourceFailed(err error) {
	reason := core.ReasonOf(err)
	if reason == core.Unavailable || reason == core.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded) {
		w.lookUps.Failed(err)
	}
}

// ChangesUnknown notes that changes cannot be read.
func (w *databaseWatch) ChangesUnknown(err error) { w.changes.Failed(err) }

// active reports whether there is an outage.
func (w *databaseWatch) active() bool { return w.lookUps.Active() || w.changes.Active() }

func (w *databaseWatch) close() {
	w.lookUps.Close()
	w.changes.Close()
}

// countsOf reads what a verifier's requests came to.
func countsOf(v *verify.Verifier) outage.Counts {
	s := v.Stats()
	return outage.Counts{Stale: s.Requests[verify.Stale], Refused: s.Failed}
}

// staleWindow is for how long a verdict may serve past its lifetime while its source fails.
func staleWindow(c *verify.Config) time.Duration {
	switch window := c.StaleIfError; {
	case c.Off || window < 0:
		return 0
	case window == 0:
		return defaultStaleWindow
	default:
		return window
	}
}

// Interface guard.
var _ verify.Observer = (*databaseWatch)(nil)
