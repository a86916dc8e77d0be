package schema

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/pressly/goose/v3"
)

// Lend calls f with the migrations of a set, on a connection of a driver that is inside a transaction. goose itself
// begins a transaction for each migration, on a pool. Here all migrations are one transaction, so that a failure leaves
// the schema that an older build knows, and the engine's lock is held since the version was read. A session locker of
// goose cannot do that: it does not learn whether to commit.
func (s Set) Lend(c any, f func(*Migrations) error) (err error) {
	inner, ok := c.(driverConn)
	if !ok {
		return fmt.Errorf("the driver's connection is a %T, which cannot be lent", c)
	}
	db := sql.OpenDB(lender{inner})
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	p, err := goose.NewProvider(s.Dialect, db, s.Files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	return f(&Migrations{p, db, s})
}

// driverConn is what goose needs of the driver's connection.
type driverConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
}

// lender is a connector whose only connection belongs to somebody else.
type lender struct{ conn driverConn }

// Connect returns the connection.
func (l lender) Connect(context.Context) (driver.Conn, error) { return lent(l), nil }

// Driver is there for database/sql, which does not ask for it here.
func (l lender) Driver() driver.Driver { return nil }

// lent is a connection inside a transaction. What goose takes for transactions are savepoints in it.
type lent struct{ conn driverConn }

var (
	_ driverConn         = lent{}
	_ driver.ConnBeginTx = lent{}
)

// Close leaves the connection open: its owner closes it.
func (l lent) Close() error { return nil }

// Prepare prepares a statement.
func (l lent) Prepare(query string) (driver.Stmt, error) { return l.conn.Prepare(query) }

// PrepareContext prepares a statement.
func (l lent) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return l.conn.PrepareContext(ctx, query)
}

// ExecContext runs a statement.
func (l lent) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return l.conn.ExecContext(ctx, query, args)
}

// QueryContext runs a query.
func (l lent) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return l.conn.QueryContext(ctx, query, args)
}

// Begin sets a savepoint.
func (l lent) Begin() (driver.Tx, error) { return l.BeginTx(context.Background(), driver.TxOptions{}) }

// BeginTx sets a savepoint.
func (l lent) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	_, err := l.conn.ExecContext(ctx, "SAVEPOINT migration", nil)
	return savepoint{context.WithoutCancel(ctx), l.conn}, err
}

// savepoint is a transaction within a transaction.
type savepoint struct {
	ctx  context.Context //nolint:containedctx // driver.Tx has methods without a context
	conn driverConn
}

// Commit keeps what was done since the savepoint, for the outer transaction to commit.
func (s savepoint) Commit() error {
	_, err := s.conn.ExecContext(s.ctx, "RELEASE migration", nil)
	return err
}

// Rollback undoes what was done since the savepoint.
func (s savepoint) Rollback() error {
	if _, err := s.conn.ExecContext(s.ctx, "ROLLBACK TO migration", nil); err != nil {
		return err
	}
	return s.Commit()
}
