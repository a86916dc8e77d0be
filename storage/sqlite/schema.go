package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/storage/internal/schema"
)

// errDone ends a transaction whose changes are not wanted.
var errDone = errors.New("done")

// ReadSchema reads the state of the schema of the database file at path. It changes nothing and creates nothing: of a
// file that is missing the version is 0.
func ReadSchema(ctx context.Context, path string) (s schema.Schema, err error) {
	if path, err = Canonical(path); err != nil {
		return s, err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return migrations().New(), nil
	}
	err = inTransaction(ctx, path, zap.NewNop(), false, func(m *schema.Migrations) error {
		if s, err = m.State(ctx); err != nil {
			return err
		}
		return errDone // goose may have made its own table
	})
	if err != nil && !errors.Is(err, errDone) {
		return schema.Schema{}, fmt.Errorf("read the schema of %s: %w", path, translate(err))
	}
	return s, nil
}

// MigrateUp brings the schema of the database file at path up by at most steps versions, or with 0 to the newest one,
// and creates the file when it is missing. It returns the state after that. A schema on which this build may not run is
// [core.FailedPrecondition].
func MigrateUp(ctx context.Context, path string, steps int) (s schema.Schema, err error) {
	if path, err = Canonical(path); err != nil {
		return s, err
	}
	if err := createFile(path); err != nil {
		return s, err
	}
	return migrateTo(ctx, path, func(m *schema.Migrations) (schema.Schema, error) { return m.Up(ctx, steps) })
}

// MigrateDown takes the schema of the database file at path back by at most steps versions, with what only the later
// ones can hold: after the last step nothing is left. No other process may have the database open. It returns the
// state after that. A file that is missing, and a schema that is newer than this build, are [core.FailedPrecondition].
func MigrateDown(ctx context.Context, path string, steps int) (s schema.Schema, err error) {
	if path, err = existing(path); err != nil {
		return s, err
	}
	return migrateTo(ctx, path, func(m *schema.Migrations) (schema.Schema, error) { return m.Down(ctx, steps) })
}

// migrateTo takes steps in one transaction.
func migrateTo(
	ctx context.Context, path string, steps func(*schema.Migrations) (schema.Schema, error),
) (s schema.Schema, err error) {
	err = inTransaction(ctx, path, zap.NewNop(), true, func(m *schema.Migrations) error {
		s, err = steps(m)
		return err
	})
	if err != nil {
		return schema.Schema{}, fmt.Errorf("migrate %s: %w", path, translate(err))
	}
	return s, nil
}
