package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// ReadState reads what the database file at path says of itself. It changes nothing and makes no file, also beside a
// node that has the file open. A file that is missing is [core.FailedPrecondition].
func ReadState(ctx context.Context, path string) (*sqlstore.State, error) {
	path, err := existing(path)
	if err != nil {
		return nil, err
	}
	s := &sqlstore.State{Newest: migrations().New().Newest, Files: filesOf(path)}
	err = onReadOnly(path, func(name string) error {
		return withPool(name, func(db *sql.DB) error { return readState(ctx, db, s) })
	})
	if err != nil {
		return nil, fmt.Errorf("read database %s: %w", path, translate(err))
	}
	return s, nil
}

// readState reads everything as of one moment.
func readState(ctx context.Context, db *sql.DB, s *sqlstore.State) (err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	if there, err := hasTable(ctx, tx, goose.DefaultTablename); err != nil || !there {
		return err
	}
	return sqlstore.ReadState(ctx, tx, s)
}

func hasTable(ctx context.Context, q sqlstore.Querier, name string) (there bool, err error) {
	err = q.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?)", name).
		Scan(&there)
	return there, err
}

// existing is the canonical path of a database file that is there.
func existing(path string) (string, error) {
	path, err := Canonical(path)
	if err != nil {
		return "", err
	}
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return "", core.NewError(core.FailedPrecondition, "there is no database at "+path)
	case err != nil:
		return "", translate(err)
	}
	return path, nil
}

// filesOf are the files that a database consists of at the moment.
func filesOf(path string) []string {
	files := []string{path}
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + suffix); err == nil {
			files = append(files, path+suffix)
		}
	}
	return files
}

// onReadOnly calls try with names of a file under which nothing is written, until one of them works. A file with a
// write-ahead log is read through it, by the shared memory of whoever has it open. One without is complete;
// SQLite would make a log for it unless it is told that nobody changes the file.
func onReadOnly(path string, try func(name string) error) error {
	shared := readOnlyURI(path, "readonly_shm")
	info, err := os.Stat(path + "-wal")
	if err == nil {
		if err = try(shared); !isCode(err, sqlite3.SQLITE_CANTOPEN) || info.Size() > 0 {
			return err
		}
	}
	if err := try(readOnlyURI(path, "immutable")); err != nil {
		return err
	}
	// A node that has opened the file meanwhile may have changed it under the reader.
	if _, err := os.Stat(path + "-wal"); err == nil && info == nil {
		return try(shared)
	}
	return nil
}

// withPool opens a pool of one connection for the time of a call.
func withPool(name string, do func(*sql.DB) error) (err error) {
	connector, err := sqlite.NewConnector(name)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	return do(db)
}
