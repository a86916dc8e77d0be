package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

const (
	// restInterval is how often the file is asked for changes of other processes, and busyInterval how often it is
	// while they make some. Most questions find nothing, and each costs a wake-up of the process: at 5 ms they take
	// 5 % of the requests per second of a gate on two processors.
	restInterval = 20 * time.Millisecond
	busyInterval = 2 * time.Millisecond
	// busyPolls is how many polls in a row find nothing before the watcher comes to rest.
	busyPolls = 500
	// retryInterval is how often the file is asked while it does not answer.
	retryInterval = 100 * time.Millisecond
	// watchWait is how long a poll waits for a lock, which in this mode of SQLite readers seldom meet.
	watchWait = 100 * time.Millisecond
	// lease is how long after the beginning of a poll the table of positions may be relied on, see
	// [feed.Positions.Renew]: the bound of what another process has changed and this one does not know. It leaves room
	// for a machine that is busy, where a poll comes late.
	lease = 50 * time.Millisecond
	// failedLease is the same after the end of a poll that failed. The database does not answer then, and how long
	// verdicts are used is a matter of their lifetimes, which count from the last poll that succeeded.
	failedLease = retryInterval + watchWait + lease
)

// watcher applies the changes that other processes make to the same file. Its goroutine is [watcher.run]; whoever
// starts it waits for done.
type watcher struct {
	db        *sql.DB
	positions *feed.Positions
	identity  *identity
	rest      time.Duration // how often it polls while there are no changes
	health    *sqlstore.Health
	done      chan struct{}

	// The rest is used by run alone, and before it by begin. A data version means something on its own connection only,
	// so both end together.
	conn        sqlstore.Conn
	feed        *sqlstore.Feed
	dataVersion sqlstore.Statement
	seen        int64
	known       bool // seen holds a version, up to which all events are applied
}

// begin moves the positions to the end of the feed.
func (w *watcher) begin(ctx context.Context) error {
	began := time.Now()
	if err := w.connect(ctx); err != nil {
		return err
	}
	last, err := w.feed.Last(ctx)
	if err != nil {
		return fmt.Errorf("read the feed's position: %w", err)
	}
	w.positions.Begin(last)
	w.positions.MarkComplete(began)
	w.positions.Renew(began.Add(lease))
	return nil
}

// run polls until stop is closed. As with the writer, ctx must not be one that ends.
func (w *watcher) run(ctx context.Context, stop <-chan struct{}) {
	defer close(w.done)
	defer w.drop()
	interval, busy := w.rest, 0
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		if err := w.identity.look(); err != nil {
			w.positions.Withdraw(err)
			continue
		}
		began := time.Now()
		found, err := w.poll(ctx)
		if err := w.identity.readable(); err != nil {
			w.positions.Withdraw(err)
			continue
		}
		next := w.rest
		switch {
		case err != nil:
			w.health.Failed(err)
			w.drop()
			next = retryInterval
			w.positions.Renew(time.Now().Add(failedLease))
		case found > 0:
			busy = busyPolls
		case busy > 0:
			busy--
		}
		if err == nil {
			w.positions.MarkComplete(began)
			w.positions.Renew(began.Add(lease))
			w.health.OK()
			if busy > 0 {
				next = busyInterval
			}
		}
		if next != interval {
			interval = next
			ticker.Reset(interval)
		}
	}
}

// poll applies all events that were committed before it was called, and returns how many it read.
func (w *watcher) poll(ctx context.Context) (found int, err error) {
	if err := w.connect(ctx); err != nil {
		return 0, err
	}
	var version int64
	if _, err := sqlstore.One(ctx, w.dataVersion, []any{&version}); err != nil {
		return 0, fmt.Errorf("read the data version: %w", err)
	}
	if w.known && version == w.seen {
		return 0, nil
	}
	applied := w.positions.Applied()
	last, err := w.feed.Last(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the feed's position: %w", err)
	}
	if last < applied {
		return 0, w.identity.rewind()
	}
	if found, err = w.feed.CatchUp(ctx, w.positions, math.MaxUint64); err != nil {
		return found, err
	}
	// What was committed between the two queries moves the version again; it is then read once more, for nothing.
	w.seen, w.known = version, true
	return found, nil
}

// connect opens the connection, when there is none.
func (w *watcher) connect(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	conn, err := sqlstore.SQLConn(ctx, w.db)
	if err != nil {
		return err
	}
	feed, err := sqlstore.NewFeed(ctx, conn)
	if err != nil {
		conn.Discard()
		return err
	}
	dataVersion, err := conn.Prepare(ctx, "PRAGMA data_version")
	if err != nil {
		conn.Discard(feed)
		return fmt.Errorf("prepare statement: %w", err)
	}
	w.conn, w.feed, w.dataVersion, w.known = conn, feed, dataVersion, false
	return nil
}

// drop closes the connection.
func (w *watcher) drop() {
	if w.conn != nil {
		w.conn.Discard(w.feed, w.dataVersion)
		w.conn = nil
	}
}
