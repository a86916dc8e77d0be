package storage

import (
	"context"
	"fmt"
	"os"

	"github.com/talos-edge/talos-edge/storage/sqlite"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// State is what a database says of itself.
type State = sqlstore.State

// ReadState reads what the database that dsn names says of itself. It changes nothing and makes no file, also while a
// node has the database open. A database that is missing is [core.FailedPrecondition].
func ReadState(ctx context.Context, dsn string) (*State, error) {
	return onState(dsn, func(e engine, location string) (*State, error) { return e.readState(ctx, location) })
}

// Backup copies the database that dsn names to the SQLite file target, as of one moment, while nodes go on writing to
// it, and returns what the copy holds. target must not exist, is made with mode 0600, and is not synced to the disk.
// After an error it may be there in part. A missing database, and one of a newer schema, are [core.FailedPrecondition].
func Backup(ctx context.Context, dsn, target string) (*State, error) {
	return onState(dsn, func(e engine, location string) (*State, error) { return e.backup(ctx, location, target) })
}

func onState(dsn string, do func(engine, string) (*State, error)) (*State, error) {
	e, _, location, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	if _, err := e.canonical(location); err != nil { // checks the location
		return nil, err
	}
	s, err := do(e, location)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return s, nil
}

// backupPostgres copies a PostgreSQL database to a SQLite file.
func backupPostgres(ctx context.Context, location, target string) (*State, error) {
	f, err := os.OpenFile(target, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the caller's own path
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if _, err := Copy(ctx, "postgres://"+location, "sqlite://"+target, Options{}, CopyOptions{}); err != nil {
		return nil, err
	}
	return sqlite.ReadState(ctx, target)
}
