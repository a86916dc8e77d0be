package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/internal/schema"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// openWait is how long a start waits for a lock: another process may be migrating.
const openWait = time.Minute

// migrations are SQLite's.
func migrations() schema.Set {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the name is well formed
	}
	return schema.Set{Files: files, Dialect: goose.DialectSQLite3}
}

// migrate brings the schema of a database file to the version of this build. It holds SQLite's write lock meanwhile, so
// that of several processes that start at once one migrates and the others wait; and it is one transaction, so that a
// failure leaves the old schema.
func migrate(ctx context.Context, path string, logger *zap.Logger) error {
	return inTransaction(ctx, path, logger, true, func(m *schema.Migrations) error {
		return m.Open(ctx, logger.With(zap.String("path", path)))
	})
}

// inTransaction calls f with the migrations, in one transaction that holds the write lock. Before it, the database is
// switched to write-ahead logging (wal) or left as it is.
func inTransaction(
	ctx context.Context, path string, logger *zap.Logger, wal bool, f func(*schema.Migrations) error,
) error {
	return locked(ctx, path, logger, wal, func(conn *sql.Conn) error {
		return conn.Raw(func(c any) error { return migrations().Lend(c, f) })
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
