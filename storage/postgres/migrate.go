package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/storage/internal/schema"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations are PostgreSQL's.
func migrations() schema.Set {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the name is well formed
	}
	return schema.Set{Files: files, Dialect: goose.DialectPostgres}
}

// migrationLock is the key of the advisory lock that a migration holds.
const migrationLock = 0x74616c6f73 // "talos"

// migrate brings the schema to the version of this build.
func migrate(ctx context.Context, t *target, logger *zap.Logger) error {
	return inTransaction(ctx, t, func(m *schema.Migrations) error { return m.Open(ctx, logger) })
}

// inTransaction calls f with the migrations, in one transaction that holds the lock of migrations: of several nodes
// that start at once one migrates and the others wait. The lock ends with the transaction, also behind a proxy that
// pools transactions. A database without advisory locks (CockroachDB) grants it to all; there the transaction that
// commits last fails.
func inTransaction(ctx context.Context, t *target, f func(*schema.Migrations) error) error {
	return withDB(t, func(db *sql.DB) (err error) {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, conn.Close()) }()
		for _, statement := range []string{
			"BEGIN", "SET LOCAL statement_timeout = 0", // that of a DSN is meant for look-ups and changes
			fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", migrationLock),
		} {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		if err := conn.Raw(func(c any) error { return migrations().Lend(c, f) }); err != nil {
			// The rollback must not be kept from running by what made f fail.
			_, rollback := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			return errors.Join(err, rollback)
		}
		_, err = conn.ExecContext(ctx, "COMMIT")
		return err
	})
}

// withDB opens a pool of one connection for the time of a call. Nothing is prepared on it.
func withDB(t *target, do func(*sql.DB) error) (err error) {
	config := t.pool.ConnConfig.Copy()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	return do(db)
}

// ReadSchema reads the state of the schema of a database. It changes nothing.
func ReadSchema(ctx context.Context, location string) (schema.Schema, error) {
	there := false
	err := reading(ctx, location, func(tx *sql.Tx) (err error) {
		there, err = hasTable(ctx, tx, goose.DefaultTablename) // goose would make it
		return err
	})
	if err != nil || !there {
		return migrations().New(), err
	}
	return onSchema(ctx, location, func(m *schema.Migrations) (schema.Schema, error) { return m.State(ctx) })
}

// MigrateUp brings the schema of a database up by at most steps versions, or with 0 to the newest one, and returns the
// state after that. A schema on which this build may not run is [core.FailedPrecondition].
func MigrateUp(ctx context.Context, location string, steps int) (schema.Schema, error) {
	return onSchema(ctx, location, func(m *schema.Migrations) (schema.Schema, error) { return m.Up(ctx, steps) })
}

// MigrateDown takes the schema of a database back by at most steps versions, with what only the later ones can hold. No
// node may run on the database. It returns the state after that. A schema that is newer than this build is
// [core.FailedPrecondition].
func MigrateDown(ctx context.Context, location string, steps int) (schema.Schema, error) {
	return onSchema(ctx, location, func(m *schema.Migrations) (schema.Schema, error) { return m.Down(ctx, steps) })
}

func onSchema(
	ctx context.Context, location string, do func(*schema.Migrations) (schema.Schema, error),
) (s schema.Schema, err error) {
	t, err := parseDSN(location)
	if err != nil {
		return s, err
	}
	err = inTransaction(ctx, t, func(m *schema.Migrations) error {
		s, err = do(m)
		return err
	})
	if err != nil {
		return schema.Schema{}, fmt.Errorf("the schema of %s: %w", Display(location), translate(err))
	}
	return s, nil
}
