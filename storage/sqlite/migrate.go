package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	"go.uber.org/zap"
	"modernc.org/sqlite"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// openWait is how long a start waits for a lock: another process may be migrating.
const openWait = time.Minute

// migrate brings the schema of a database file to the version of this build. It holds SQLite's write lock meanwhile, so
// that of several processes that start at once one migrates and the others wait; and it is one transaction, so that a
// failure leaves the old schema. A schema that is newer than this build is [core.FailedPrecondition].
func migrate(ctx context.Context, path string, logger *zap.Logger) error {
	return inTransaction(ctx, path, logger, true, func(p *goose.Provider) error {
		current, target, err := p.GetVersions(ctx)
		if err != nil {
			return fmt.Errorf("read the schema's version: %w", err)
		}
		if current > target {
			return sqlstore.NewerError(current, target)
		}
		done, err := p.Up(ctx)
		if err != nil {
			return fmt.Errorf("migrate the schema: %w", err)
		}
		for _, m := range done {
			logger.Info("migrated the database", zap.String("path", path), zap.Int64("version", m.Source.Version),
				zap.String("file", filepath.Base(m.Source.Path)), zap.Duration("took", m.Duration))
		}
		return nil
	})
}

// inTransaction calls f with a provider of the migrations, in one transaction that holds the write lock. Before it, the
// database is switched to write-ahead logging (wal) or left as it is.
func inTransaction(
	ctx context.Context, path string, logger *zap.Logger, wal bool, f func(*goose.Provider) error,
) error {
	return locked(ctx, path, logger, wal, func(conn *sql.Conn) error {
		return conn.Raw(func(c any) error { return lend(c, f) })
	})
}

// locked calls f with a connection that is inside a transaction which holds the write lock, and commits it unless f
// returns an error.
func locked(
	ctx context.Context, path string, logger *zap.Logger, wal bool, f func(*sql.Conn) error,
) error {
	return withPool(uri(path, 0), func(db *sql.DB) (err error) {
		var conn *sql.Conn
		defer func() {
			if conn != nil {
				err = errors.Join(err, conn.Close())
			}
		}()
		err = whenFree(ctx, logger, path, openWait, func() (err error) {
			if conn == nil {
				if conn, err = db.Conn(ctx); err != nil {
					return err
				}
			}
			if wal {
				if err := useWAL(ctx, conn); err != nil {
					return err
				}
			}
			_, err = conn.ExecContext(ctx, "BEGIN IMMEDIATE")
			return err
		})
		if err != nil {
			return err
		}
		if err := f(conn); err != nil {
			// The rollback must not be kept from running by what made f fail.
			_, rollback := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			return errors.Join(err, rollback)
		}
		_, err = conn.ExecContext(ctx, "COMMIT")
		return err
	})
}

// useWAL switches a database to write-ahead logging, which it then keeps.
func useWAL(ctx context.Context, conn *sql.Conn) error {
	var mode string
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return core.NewError(core.Unavailable, fmt.Sprintf("the database cannot use a write-ahead log (its "+
			"journal mode stays %q): is it on a network file system?", mode))
	}
	return nil
}

// lend calls f with a provider that works on a connection which is inside a transaction. goose itself begins a
// transaction for each migration, on a pool. Here all migrations are one transaction, so that a failure leaves the
// schema that an older build knows, and the write lock is held since the version was read. A session locker of goose
// cannot do that: it does not learn whether to commit.
func lend(c any, f func(*goose.Provider) error) (err error) {
	inner, ok := c.(driverConn)
	if !ok {
		return fmt.Errorf("the driver's connection is a %T, which cannot be lent", c)
	}
	db := sql.OpenDB(lender{inner})
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	return f(p)
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
func (l lender) Driver() driver.Driver { return &sqlite.Driver{} }

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
