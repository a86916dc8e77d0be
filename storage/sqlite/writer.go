package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

const (
	// maxGroup is how many changes are committed together at most. It bounds how long one commit takes.
	maxGroup = 256
	// maxQueue is how many changes wait at most.
	maxQueue = 1024
	// gapChunk is how many events are read at once.
	gapChunk = 1000
)

// hooks let tests look and reach into the writer. All are set before it starts.
type hooks struct {
	beforeTake   func()       // changes wait, and are about to be taken from the queue
	beforeCommit func() error // the transaction is about to be committed; an error stands in for COMMIT's
	committed    func()       // a transaction was committed
}

func (h *hooks) setDefaults() {
	if h.beforeTake == nil {
		h.beforeTake = func() {}
	}
	if h.beforeCommit == nil {
		h.beforeCommit = func() error { return nil }
	}
	if h.committed == nil {
		h.committed = func() {}
	}
}

// writer is the only one that changes the database. Its goroutine is [writer.run]; whoever starts it waits for done.
type writer struct {
	db        *sql.DB
	queue     *queue
	positions *feed.Positions
	identity  *identity
	health    *health
	hooks     hooks
	lockWait  time.Duration // how long a change waits for other processes' transactions
	done      chan struct{}

	session *session // the connection; nil after one that failed. Used by run alone
}

// do has a change made, and returns its outcome when it is durable and its events are applied.
func (w *writer) do(ctx context.Context, apply func(context.Context, *sqlstore.Writer) ([]feed.Event, error)) error {
	m := &mutation{apply: apply, until: time.Now().Add(w.lockWait), done: make(chan struct{})}
	if err := w.queue.push(ctx, m); err != nil {
		return err
	}
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
	}
	if w.queue.remove(m) {
		return errNotBegun(ctx.Err())
	}
	select {
	case <-m.done:
		return m.err
	default:
		return errUnknown(ctx.Err())
	}
}

// run commits what waits until the queue is closed and empty. A ctx that can end would cost a goroutine a statement in
// the driver, and could break off a group because of one of its members; so ctx must not be one that ends.
func (w *writer) run(ctx context.Context) {
	defer close(w.done)
	for w.queue.wait() {
		w.hooks.beforeTake()
		if group := w.queue.take(maxGroup); len(group) > 0 {
			w.commit(ctx, group)
		}
	}
	w.drop()
}

// commit has a group committed, together or else one by one, and answers each of its members.
func (w *writer) commit(ctx context.Context, group []*mutation) {
	if err := w.identity.check(); err != nil {
		answer(group, err)
		return
	}
	group = w.begin(ctx, group)
	if len(group) == 0 {
		return
	}
	err := w.transact(ctx, group)
	if err == nil {
		return
	}
	if len(group) == 1 {
		answer(group, err)
		return
	}
	for i := range group {
		one := w.begin(ctx, group[i:i+1:i+1])
		if len(one) == 0 {
			continue
		}
		if err := w.transact(ctx, one); err != nil {
			answer(one, err)
		}
	}
}

// begin begins a transaction for a group and returns those of its members that are in it. While another process has the
// lock, it answers each member whose time is over; without a transaction none of them is the cause of an error.
func (w *writer) begin(ctx context.Context, group []*mutation) []*mutation {
	for delay := minLockDelay; ; delay = min(2*delay, maxLockDelay) {
		s, err := w.connect(ctx)
		if err == nil {
			err = s.exec(ctx, s.begin)
		}
		switch {
		case err == nil:
			return group
		case !isBusy(err):
			w.health.failed(err)
			w.drop()
			answer(group, err)
			return nil
		}
		now, waited := time.Now(), len(group)
		group = slices.DeleteFunc(group, func(m *mutation) bool {
			if m.until.After(now) {
				delay = min(delay, m.until.Sub(now))
				return false
			}
			m.finish(err)
			return true
		})
		if len(group) < waited {
			w.health.failed(err)
		}
		if len(group) == 0 {
			return nil
		}
		<-time.After(delay)
	}
}

// answer gives all members of a group the same answer.
func answer(group []*mutation, err error) {
	for _, m := range group {
		m.finish(err)
	}
}

// transact makes the changes of a group in the transaction that begin has begun, and answers its members. When it
// returns an error, nothing was changed and nobody was answered. A change that went into a file which was taken away
// meanwhile is made as far as this process can tell, and is not acknowledged.
func (w *writer) transact(ctx context.Context, group []*mutation) error {
	s := w.session
	outcomes := make([]error, len(group))
	events, err := w.apply(ctx, s, group, outcomes)
	if err == nil {
		err = w.hooks.beforeCommit()
	}
	if err == nil {
		err = s.exec(ctx, s.commit)
	}
	if err != nil {
		w.health.failed(err)
		// SQLite ends a transaction by itself after some errors. A connection whose state is not certain is given up,
		// which also rolls back.
		if s.exec(ctx, s.rollback) != nil {
			w.drop()
		}
		return err
	}
	w.health.ok()
	w.hooks.committed()
	w.positions.Apply(events...)
	lost := w.identity.check()
	for i, m := range group {
		m.finish(cmp.Or(outcomes[i], lost))
	}
	return nil
}

// apply makes the changes, each in a savepoint, and returns their events. A change that fails alone has its error in
// outcomes.
func (w *writer) apply(
	ctx context.Context, s *session, group []*mutation, outcomes []error,
) (events []feed.Event, err error) {
	for i, m := range group {
		if err := s.exec(ctx, s.savepoint); err != nil {
			return nil, err
		}
		made, err := m.apply(ctx, s.writer)
		if err != nil {
			if !failsAlone(err) {
				return nil, err
			}
			outcomes[i] = err
			if err := s.exec(ctx, s.rollbackTo); err != nil {
				return nil, err
			}
		}
		if err := s.exec(ctx, s.release); err != nil {
			return nil, err
		}
		if err == nil {
			events = append(events, made...)
		}
	}
	if len(events) == 0 {
		return nil, nil
	}
	if w.positions.Applied() >= events[0].Position {
		return nil, w.identity.rewind()
	}
	return events, catchUp(ctx, s.feed, w.positions, events[0].Position)
}

// catchUp applies the events of other processes up to a position. Without it, a process would pass over what another
// one committed before its own change. The transaction has the write lock, so nothing can come in between any more.
func catchUp(ctx context.Context, reader *sqlstore.Feed, positions *feed.Positions, before uint64) error {
	for {
		applied := positions.Applied()
		if applied+1 >= before {
			return nil
		}
		events, err := reader.After(ctx, applied, gapChunk)
		if err != nil {
			return err
		}
		for i := range events {
			if events[i].Position >= before {
				positions.Apply(events[:i]...)
				return nil
			}
		}
		positions.Apply(events...)
		if len(events) < gapChunk {
			return nil
		}
	}
}

// connect returns the connection, and opens one when there is none.
func (w *writer) connect(ctx context.Context) (*session, error) {
	if w.session != nil {
		return w.session, nil
	}
	s, err := newSession(ctx, w.db)
	if err != nil {
		return nil, err
	}
	w.session = s
	return s, nil
}

// drop closes the connection.
func (w *writer) drop() {
	if w.session != nil {
		w.session.close()
		w.session = nil
	}
}

// session is the writer's connection with its prepared statements.
type session struct {
	conn   *sql.Conn
	writer *sqlstore.Writer
	feed   *sqlstore.Feed

	closers []io.Closer // all statements

	begin, commit, rollback, savepoint, rollbackTo, release *sql.Stmt
}

func newSession(ctx context.Context, db *sql.DB) (_ *session, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, stmt := range []struct {
		to    **sql.Stmt
		query string
	}{
		{&s.begin, "BEGIN IMMEDIATE"},
		{&s.commit, "COMMIT"},
		{&s.rollback, "ROLLBACK"},
		{&s.savepoint, "SAVEPOINT change"},
		{&s.rollbackTo, "ROLLBACK TO change"},
		{&s.release, "RELEASE change"},
	} {
		*stmt.to, err = conn.PrepareContext(ctx, stmt.query) //nolint:sqlclosecheck // session.close does
		if err != nil {
			return nil, err
		}
		s.closers = append(s.closers, *stmt.to)
	}
	if s.writer, err = sqlstore.NewWriter(ctx, conn); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.writer)
	if s.feed, err = sqlstore.NewFeed(ctx, conn); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.feed)
	return s, nil
}

func (s *session) exec(ctx context.Context, stmt *sql.Stmt) error {
	_, err := stmt.ExecContext(ctx)
	return err
}

// close closes the connection and does not give it back to the pool: it may be inside a transaction.
func (s *session) close() { discard(s.conn, s.closers...) }

// discard closes a connection of a pool for good, after its statements. The statements of a connection that
// database/sql has given up by itself must not be touched. Errors would repeat why the connection is discarded.
func discard(conn *sql.Conn, statements ...io.Closer) {
	if err := conn.Raw(func(any) error { return nil }); errors.Is(err, sql.ErrConnDone) {
		return
	}
	for _, s := range statements {
		_ = s.Close()
	}
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
}
