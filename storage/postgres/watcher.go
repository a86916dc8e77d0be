package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

const (
	channel = "talos_feed"

	// pollInterval is how often the feed is read without a notification. It heals one that was lost.
	pollInterval = 100 * time.Millisecond
	// pollTimeout bounds one reading of the feed, and the opening of the connection for it.
	pollTimeout = 500 * time.Millisecond
	// lease is how long after the beginning of a poll the table of positions may be relied on, see
	// [feed.Positions.Renew]: a node that was paused does not answer from before the pause for longer. It leaves a poll
	// its time, so that a database that does not answer keeps no request waiting.
	lease = pollTimeout + 2*pollInterval
	// failedLease is the same after the end of a poll that failed. The database does not answer then, and how long
	// verdicts are used is a matter of their lifetimes, which count from the last poll that succeeded.
	failedLease = pollInterval + lease

	// clockTolerance is up to which difference two clocks count as the same.
	clockTolerance = time.Second
)

// watcher applies the changes that other nodes make. Its goroutine is [watcher.run]; whoever starts it waits for done.
type watcher struct {
	config    *pgx.ConnConfig
	positions *feed.Positions
	logger    *zap.Logger
	interval  time.Duration
	health    *sqlstore.Health
	ahead     atomic.Int64 // by how much the database's clock is later, in nanoseconds
	done      chan struct{}

	// The rest is used by run alone, and before it by begin.
	conn     *pgx.Conn
	feed     *sqlstore.Feed
	notified bool // since the last poll began
	deaf     bool // notifications do not come
}

func newWatcher(t *target, positions *feed.Positions, opts Options) *watcher {
	w := &watcher{
		config: t.listen.Copy(), deaf: t.deaf, positions: positions, logger: opts.Logger, done: make(chan struct{}),
		interval: cmp.Or(opts.pollInterval, pollInterval),
		health:   &sqlstore.Health{Logger: opts.Logger, What: "watching the database for changes"},
	}
	w.config.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) { w.notified = true }
	return w
}

// begin moves the positions to the end of the feed, and returns it.
func (w *watcher) begin(ctx context.Context) (uint64, error) {
	began := time.Now()
	if err := w.connect(ctx); err != nil {
		return 0, err
	}
	last, err := w.last(ctx)
	if err != nil {
		return 0, err
	}
	w.positions.Begin(last)
	w.positions.MarkComplete(began)
	w.positions.Renew(began.Add(lease))
	return last, nil
}

// run polls until ctx ends.
func (w *watcher) run(ctx context.Context) {
	defer close(w.done)
	defer w.drop()
	for ctx.Err() == nil {
		began := time.Now()
		w.notified = false
		if err := w.poll(ctx); err != nil {
			w.drop()
			if ctx.Err() != nil {
				return
			}
			w.health.Failed(err)
			w.positions.Renew(time.Now().Add(failedLease))
			select {
			case <-time.After(pollInterval):
			case <-ctx.Done():
			}
			continue
		}
		w.positions.MarkComplete(began)
		w.positions.Renew(began.Add(lease))
		w.health.OK()
		if !w.notified {
			w.wait(ctx)
		}
	}
}

// wait waits for a notification, until the next poll at most. A connection that breaks is found by that poll.
func (w *watcher) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, w.interval)
	defer cancel()
	_ = w.conn.PgConn().WaitForNotification(ctx)
}

// poll applies all events that were committed before it was called.
func (w *watcher) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	if err := w.connect(ctx); err != nil {
		return err
	}
	last, err := w.last(ctx)
	if err != nil {
		return err
	}
	switch applied := w.positions.Applied(); {
	case last == applied:
		return nil
	case last < applied:
		if err := rewind(ctx, w.conn, applied, w.logger); err != nil {
			return err
		}
	}
	_, err = w.feed.CatchUp(ctx, w.positions, math.MaxUint64)
	return err
}

// last reads the position of the last change, and the clock.
func (w *watcher) last(ctx context.Context) (uint64, error) {
	var last, micros int64
	began := time.Now()
	err := w.conn.QueryRow(ctx,
		"SELECT last, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM feed_last").Scan(&last, &micros)
	if err != nil {
		return 0, fmt.Errorf("read the feed's position: %w", err)
	}
	if last < 0 {
		return 0, fmt.Errorf("read the feed's position: %d is out of range", last)
	}
	ahead := time.UnixMicro(micros).Sub(began.Add(time.Since(began) / 2))
	if ahead.Abs() < clockTolerance {
		ahead = 0
	}
	w.ahead.Store(int64(ahead))
	return uint64(last), nil
}

// connect opens the connection when there is none.
func (w *watcher) connect(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	c, err := connect(ctx, w.config)
	if err != nil {
		return err
	}
	if err := adopt(ctx, c, w.logger); err != nil {
		discard(c)
		return err
	}
	if err := w.listen(ctx, c); err != nil {
		discard(c)
		return fmt.Errorf("listen: %w", err)
	}
	if w.feed, err = sqlstore.NewFeed(ctx, preparer{c}); err != nil {
		discard(c)
		return err
	}
	w.conn = c
	return nil
}

// listen asks for notifications. Where there are none, the polls have to do.
func (w *watcher) listen(ctx context.Context, c *pgx.Conn) error {
	if w.deaf {
		return nil
	}
	_, err := c.Exec(ctx, "LISTEN "+channel)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && (e.Code == syntaxError || e.Code == notSupported) {
		w.deaf = true
		w.logger.Warn("the database has no LISTEN: the changes of other nodes are found by polling",
			zap.Duration("interval", w.interval), zap.Error(err))
		return nil
	}
	return err
}

// drop closes the connection.
func (w *watcher) drop() {
	if w.conn != nil {
		discard(w.conn)
		w.conn = nil
	}
}

// notifier sends the other nodes a notification after changes: one for all that were made while the one before was
// sent.
type notifier struct {
	on   querier
	wake chan struct{}
	done chan struct{}
}

func newNotifier(on querier) *notifier {
	return &notifier{on: on, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// changed has a notification sent, and does not wait for it.
func (n *notifier) changed() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// run sends until ctx ends, and then once more if there is something to send. What cannot be sent is found by polls.
func (n *notifier) run(ctx context.Context) {
	defer close(n.done)
	for {
		select {
		case <-n.wake:
			n.send(ctx)
			continue
		case <-ctx.Done():
		}
		select {
		case <-n.wake:
			n.send(context.WithoutCancel(ctx))
		default:
		}
		return
	}
}

func (n *notifier) send(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	_, _ = n.on.Exec(ctx, "NOTIFY "+channel)
}
