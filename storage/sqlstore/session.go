package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
)

// session is the connection of a [GroupCommit] with its prepared statements.
type session struct {
	conn   *sql.Conn
	writer *Writer
	feed   *Feed
	prepared

	begin, commit, rollback, savepoint, rollbackTo, release *sql.Stmt
}

func newSession(ctx context.Context, db *sql.DB, d *Dialect) (_ *session, err error) {
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
	s.prepared, err = prepare(ctx, conn,
		statement{&s.begin, d.Begin}, statement{&s.commit, "COMMIT"}, statement{&s.rollback, "ROLLBACK"},
		statement{&s.savepoint, "SAVEPOINT change"}, statement{&s.rollbackTo, "ROLLBACK TO change"},
		statement{&s.release, "RELEASE change"})
	if err != nil {
		return nil, err
	}
	if s.writer, err = NewWriter(ctx, conn); err != nil {
		return nil, err
	}
	s.feed, err = NewFeed(ctx, conn)
	return s, err
}

func (s *session) exec(ctx context.Context, stmt *sql.Stmt) error {
	_, err := stmt.ExecContext(ctx)
	return err
}

// close closes the connection and does not give it back to the pool: it may be inside a transaction.
func (s *session) close() {
	closers := []io.Closer{s.prepared}
	if s.writer != nil {
		closers = append(closers, s.writer)
	}
	if s.feed != nil {
		closers = append(closers, s.feed)
	}
	Discard(s.conn, closers...)
}

// Discard closes a connection of a pool for good, after its statements. The statements of a connection that
// database/sql has closed must not be touched. Errors would repeat why the connection is discarded.
func Discard(conn *sql.Conn, statements ...io.Closer) {
	if err := conn.Raw(func(any) error { return nil }); errors.Is(err, sql.ErrConnDone) {
		return
	}
	for _, s := range statements {
		_ = s.Close()
	}
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
}

// Connect opens the connection when there is none, and returns it. From Start on only hooks may call it.
func (g *GroupCommit) Connect(ctx context.Context) (*sql.Conn, error) {
	if g.session == nil {
		s, err := newSession(ctx, g.DB, g.Dialect)
		if err != nil {
			return nil, err
		}
		g.session = s
	}
	return g.session.conn, nil
}

// Disconnect closes the connection, if there is one. It is called before Start or after Stop.
func (g *GroupCommit) Disconnect() {
	if g.session != nil {
		g.session.close()
		g.session = nil
	}
}
