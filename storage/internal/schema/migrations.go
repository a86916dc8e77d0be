package schema

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/pressly/goose/v3"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
)

// Set is an engine's migrations, in files whose names begin with their number.
type Set struct {
	Files   fs.FS
	Dialect goose.Dialect
}

// New is the state of a database that is not there.
func (s Set) New() Schema {
	var state Schema
	files, err := fs.Glob(s.Files, "*.sql")
	if err != nil {
		return state // the pattern is well formed
	}
	for i, file := range files {
		state.Newest = int64(i) + 1
		state.Versions = append(state.Versions, Migration{Version: state.Newest, Name: filepath.Base(file)})
	}
	return state
}

// Migrations are a [Set] within a transaction of a database.
type Migrations struct {
	provider *goose.Provider
	db       *sql.DB
	set      Set
}

// SelectOldest reads which version a build must know to run on a database.
const SelectOldest = `SELECT oldest FROM compatibility`

// State reads the state of the schema.
func (m *Migrations) State(ctx context.Context) (s Schema, err error) {
	if s.Version, s.Newest, err = m.provider.GetVersions(ctx); err != nil {
		return s, fmt.Errorf("read the schema's version: %w", err)
	}
	if s.IsNewer() {
		s.Versions = m.set.New().Versions
		for i := range s.Versions {
			s.Versions[i].Applied = true
		}
		if err := m.db.QueryRowContext(ctx, SelectOldest).Scan(&s.Oldest); err != nil {
			return s, fmt.Errorf("read which builds may run on the schema: %w", err)
		}
		return s, nil
	}
	all, err := m.provider.Status(ctx)
	if err != nil {
		return s, fmt.Errorf("read the schema's migrations: %w", err)
	}
	for _, one := range all {
		s.Versions = append(s.Versions, Migration{
			Version: one.Source.Version, Name: filepath.Base(one.Source.Path), Applied: one.State == goose.StateApplied,
		})
	}
	return s, nil
}

// Open brings the schema to the version of this build, or leaves it as it is when it is newer and this build may run on
// it. One on which it may not run is [core.FailedPrecondition].
func (m *Migrations) Open(ctx context.Context, logger *zap.Logger) error {
	s, err := m.State(ctx)
	if err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return err
	}
	if s.IsNewer() {
		logger.Info("the database has a newer schema, on which this build may run",
			zap.Int64("version", s.Version), zap.Int64("known", s.Newest))
		return nil
	}
	done, err := m.provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate the schema: %w", err)
	}
	for _, one := range done {
		logger.Info("migrated the database", zap.Int64("version", one.Source.Version),
			zap.String("file", filepath.Base(one.Source.Path)), zap.Duration("took", one.Duration))
	}
	return nil
}

// Up takes at most steps steps to newer versions, or with 0 all that there are, and returns the state after that. A
// schema on which this build may not run is [core.FailedPrecondition].
func (m *Migrations) Up(ctx context.Context, steps int) (Schema, error) {
	return m.step(ctx, steps, func(s *Schema) (bool, error) {
		if err := s.Check(); err != nil || s.Version >= s.Newest {
			return false, err
		}
		_, err := m.provider.UpByOne(ctx)
		return true, err
	})
}

// Down takes at most steps steps back, and returns the state after that. A schema that is newer than this build is
// [core.FailedPrecondition]: only the build that knows a step can take it back.
func (m *Migrations) Down(ctx context.Context, steps int) (Schema, error) {
	if steps < 1 {
		return Schema{}, core.NewError(core.BadRequest, "migrating down needs a number of steps")
	}
	return m.step(ctx, steps, func(s *Schema) (bool, error) {
		if s.IsNewer() {
			return false, s.newerError()
		}
		if s.Version == 0 {
			return false, nil
		}
		_, err := m.provider.Down(ctx)
		return true, err
	})
}

// step calls one until it says that there is nothing more to do, or as often as steps says, of which 0 is no bound.
func (m *Migrations) step(ctx context.Context, steps int, one func(*Schema) (more bool, err error)) (Schema, error) {
	for taken := 0; ; taken++ {
		s, err := m.State(ctx)
		if err != nil {
			return Schema{}, err
		}
		if steps > 0 && taken == steps {
			return s, nil
		}
		more, err := one(&s)
		switch {
		case err != nil && core.ReasonOf(err) != core.FailedPrecondition:
			return Schema{}, fmt.Errorf("at version %d: %w", s.Version, err)
		case err != nil:
			return Schema{}, err
		case !more:
			return s, nil
		}
	}
}
