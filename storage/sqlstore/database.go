package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
)

// Conn is a connection of its own to a database, on which transactions run.
type Conn interface {
	Preparer
	// Discard closes the connection for good, after what was prepared on it: it may be inside a transaction. Errors
	// would repeat why it is discarded.
	Discard(statements ...io.Closer)
}

// SQLConn takes a connection of its own from a pool of database/sql.
func SQLConn(ctx context.Context, db *sql.DB) (Conn, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return sqlConn{SQLPreparer{conn}, conn}, nil
}

type sqlConn struct {
	SQLPreparer
	conn *sql.Conn
}

// Discard closes the connection. The statements of one that database/sql has closed must not be touched.
func (c sqlConn) Discard(statements ...io.Closer) {
	if err := c.conn.Raw(func(any) error { return nil }); errors.Is(err, sql.ErrConnDone) {
		return
	}
	for _, s := range statements {
		_ = s.Close()
	}
	_ = c.conn.Raw(func(any) error { return driver.ErrBadConn })
}

// SQLPreparer prepares statements of database/sql: on a [*sql.DB], [*sql.Conn] or [*sql.Tx].
type SQLPreparer struct {
	On interface {
		PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	}
}

// Prepare prepares a statement.
func (p SQLPreparer) Prepare(ctx context.Context, query string) (Statement, error) {
	stmt, err := p.On.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return sqlStatement{stmt}, nil
}

type sqlStatement struct{ *sql.Stmt }

// Query runs the statement.
func (s sqlStatement) Query(ctx context.Context, args ...any) (Rows, error) {
	rows, err := s.QueryContext(ctx, args...) //nolint:rowserrcheck // the caller checks them
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// Exec runs the statement.
func (s sqlStatement) Exec(ctx context.Context, args ...any) (int64, error) {
	result, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
