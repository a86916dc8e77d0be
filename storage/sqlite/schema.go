package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// errDone ends a transaction whose changes are not wanted.
var errDone = errors.New("done")

// ReadSchema reads the state of the schema of the database file at path. It changes nothing and creates nothing: of a
// file that is missing the version is 0.
func ReadSchema(ctx context.Context, path string) (sqlstore.Schema, error) {
	var s sqlstore.Schema
	path, err := Canonical(path)
	if err != nil {
		return s, err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return newSchema(), nil
	}
	err = inTransaction(ctx, path, zap.NewNop(), false, func(p *goose.Provider) error {
		if s, err = schemaOf(ctx, p); err != nil {
			return err
		}
		return errDone // goose may have made its own table
	})
	if err != nil && !errors.Is(err, errDone) {
		return sqlstore.Schema{}, fmt.Errorf("read the schema of %s: %w", path, translate(err))
	}
	return s, nil
}

// MigrateUp brings the schema of the database file at path up by at most steps versions, or with 0 to the newest one,
// and creates the file when it is missing. It returns the state after that. A schema that is newer than this build is
// [core.FailedPrecondition].
func MigrateUp(ctx context.Context, path string, steps int) (sqlstore.Schema, error) {
	path, err := Canonical(path)
	if err != nil {
		return sqlstore.Schema{}, err
	}
	if err := createFile(path); err != nil {
		return sqlstore.Schema{}, err
	}
	return step(ctx, path, steps, func(s *sqlstore.Schema) bool { return s.Version < s.Newest },
		func(p *goose.Provider) error {
			_, err := p.UpByOne(ctx)
			return err
		})
}

// MigrateDown takes the schema of the database file at path back by at most steps versions, with what only the later
// ones can hold: after the last step nothing is left. No other process may have the database open. It returns the
// state after that. A file that is missing, and a schema that is newer than this build, are [core.FailedPrecondition].
func MigrateDown(ctx context.Context, path string, steps int) (sqlstore.Schema, error) {
	if steps < 1 {
		return sqlstore.Schema{}, core.NewError(core.BadRequest, "migrating down needs a number of steps")
	}
	path, err := existing(path)
	if err != nil {
		return sqlstore.Schema{}, err
	}
	return step(ctx, path, steps, func(s *sqlstore.Schema) bool { return s.Version > 0 },
		func(p *goose.Provider) error {
			_, err := p.Down(ctx)
			return err
		})
}

// step takes steps, or with 0 as many as more allows, in one transaction.
func step(
	ctx context.Context, path string, steps int, more func(*sqlstore.Schema) bool, one func(*goose.Provider) error,
) (s sqlstore.Schema, err error) {
	err = inTransaction(ctx, path, zap.NewNop(), true, func(p *goose.Provider) error {
		for taken := 0; ; taken++ {
			if s, err = schemaOf(ctx, p); err != nil {
				return err
			}
			if err := s.Check(); err != nil {
				return err
			}
			if !more(&s) || steps > 0 && taken == steps {
				return nil
			}
			if err := one(p); err != nil {
				return fmt.Errorf("at version %d: %w", s.Version, err)
			}
		}
	})
	if err != nil {
		return sqlstore.Schema{}, fmt.Errorf("migrate %s: %w", path, translate(err))
	}
	return s, nil
}

// newSchema is the state of a database that is not there.
func newSchema() sqlstore.Schema {
	var s sqlstore.Schema
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return s // the pattern is well formed
	}
	for i, file := range files {
		s.Newest = int64(i) + 1
		s.Versions = append(s.Versions, sqlstore.SchemaMigration{Version: s.Newest, Name: filepath.Base(file)})
	}
	return s
}

// schemaOf reads the state of a schema.
func schemaOf(ctx context.Context, p *goose.Provider) (s sqlstore.Schema, err error) {
	if s.Version, s.Newest, err = p.GetVersions(ctx); err != nil {
		return s, fmt.Errorf("read the schema's version: %w", err)
	}
	all, err := p.Status(ctx)
	if err != nil {
		return s, fmt.Errorf("read the schema's migrations: %w", err)
	}
	for _, m := range all {
		s.Versions = append(s.Versions, sqlstore.SchemaMigration{
			Version: m.Source.Version, Name: filepath.Base(m.Source.Path), Applied: m.State == goose.StateApplied,
		})
	}
	return s, nil
}
