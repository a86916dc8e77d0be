package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// lockNotice is how long a start waits for a lock before it says so in the log.
const lockNotice = time.Second

// whenFree calls try until another error comes than that the database is locked, for wait at most, and tells what it
// waits for. SQLite itself would wait without regard to a context, and for each statement anew; so the connections that
// need the write lock do not let it wait. A lock that stays is [core.Unavailable], or [core.DeadlineExceeded] if ctx
// ended first.
func whenFree(ctx context.Context, logger *zap.Logger, path string, wait time.Duration, try func() error) error {
	began, said := time.Now(), false
	bounded, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for delay := sqlstore.NextLockDelay(0); ; delay = sqlstore.NextLockDelay(delay) {
		err := try()
		if !isBusy(err) {
			return err
		}
		if !said && time.Since(began) >= lockNotice {
			said = true
			until, _ := bounded.Deadline()
			logger.Warn("the database is locked by another process; waiting for it",
				zap.String("path", path), zap.Duration("at_most", time.Until(until)))
		}
		select {
		case <-time.After(delay):
		case <-bounded.Done():
			return errLocked(time.Since(began), errors.Join(err, ctx.Err()))
		}
	}
}

// errLocked is for a start that gives up. It says more than the error of a change, whose caller is not the operator.
func errLocked(waited time.Duration, cause error) error {
	reason := core.Unavailable
	if errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, context.Canceled) {
		reason = core.DeadlineExceeded
	}
	return core.WrapError(reason, fmt.Sprintf("the database was locked by another process for %s: end that process or "+
		"its transaction (a migration, a backup, an open sqlite3 shell), and start again",
		waited.Round(time.Millisecond)), cause)
}
