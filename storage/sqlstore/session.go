package sqlstore

import (
	"context"
	"io"
)

// session is the connection of a [GroupCommit] with its prepared statements.
type session struct {
	conn   Conn
	writer *Writer
	feed   *Feed
	prepared

	begin, commit, rollback, savepoint, rollbackTo, release Statement
}

func newSession(ctx context.Context, connect func(context.Context) (Conn, error), d *Dialect) (_ *session, err error) {
	conn, err := connect(ctx)
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
	if s.writer, err = NewWriter(ctx, conn, d); err != nil {
		return nil, err
	}
	s.feed, err = NewFeed(ctx, conn)
	return s, err
}

func (s *session) exec(ctx context.Context, stmt Statement) error {
	_, err := stmt.Exec(ctx)
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
	s.conn.Discard(closers...)
}

// Connect opens the connection when there is none, and returns it. From Start on only hooks may call it.
func (g *GroupCommit) Connect(ctx context.Context) (Conn, error) {
	if g.session == nil {
		s, err := newSession(ctx, g.Dial, g.Dialect)
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
