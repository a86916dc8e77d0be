package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/postgres"
	"github.com/talos-edge/talos-edge/storage/sqlite"
	"github.com/talos-edge/talos-edge/storage/transfer"
)

// Options are the settings that all engines share. The zero value is ready to use.
type Options struct {
	// Logger is told of migrations, and when a database begins to fail or works again. nil: nothing is logged.
	Logger *zap.Logger
}

// engine is what a scheme names. Its functions get what follows "scheme://" in the DSN.
type engine struct {
	shared bool // nodes on several machines can use one database

	open      func(ctx context.Context, location string, opts Options) (core.Store, error)
	canonical func(location string) (string, error)
	display   func(location string) string

	readSecretCheck func(ctx context.Context, location string, network core.NetworkID, opts Options) (string, error)

	readSchema  func(ctx context.Context, location string) (Schema, error)
	migrateUp   func(ctx context.Context, location string, steps int) (Schema, error)
	migrateDown func(ctx context.Context, location string, steps int) (Schema, error)

	readState func(ctx context.Context, location string) (*State, error)
	backup    func(ctx context.Context, location, target string) (*State, error)

	transfer func(ctx context.Context, location string, logger *zap.Logger) (transfer.Database, error)
}

func engines() map[string]engine {
	onPostgres := enginePostgres()
	return map[string]engine{
		"sqlite": {
			open: openSQLite, canonical: canonicalSQLite, readSecretCheck: readSecretCheckSQLite,
			display:    func(path string) string { return path },
			readSchema: sqlite.ReadSchema, migrateUp: sqlite.MigrateUp, migrateDown: sqlite.MigrateDown,
			readState: sqlite.ReadState, backup: sqlite.Backup, transfer: transferSQLite,
		},
		"postgres":   onPostgres,
		"postgresql": onPostgres,
	}
}

func enginePostgres() engine {
	return engine{
		shared: true,
		open: func(ctx context.Context, location string, opts Options) (core.Store, error) {
			s, err := postgres.Open(ctx, location, postgres.Options{Logger: opts.Logger})
			if err != nil {
				return nil, fmt.Errorf("storage: %w", err)
			}
			return s, nil
		},
		canonical: func(location string) (string, error) {
			location, err := postgres.Canonical(location)
			if err != nil {
				return "", fmt.Errorf("storage: %w", err)
			}
			return location, nil
		},
		display: postgres.Display,
		readSecretCheck: func(ctx context.Context, location string, n core.NetworkID, _ Options) (string, error) {
			check, err := postgres.ReadSecretCheck(ctx, location, n)
			if err != nil {
				return "", fmt.Errorf("storage: %w", err)
			}
			return check, nil
		},
		readSchema: postgres.ReadSchema, migrateUp: postgres.MigrateUp, migrateDown: postgres.MigrateDown,
		readState: postgres.ReadState, transfer: postgres.Transfer,
		backup: backupPostgres,
	}
}

// Open opens the database that dsn names, and creates or migrates it when it must:
//
//	sqlite:///var/lib/talos/talos.db    an absolute path
//	sqlite://talos.db                   a path relative to the working directory
//	postgres://user@host/talos          PostgreSQL, see package postgres
//
// ctx bounds the opening only. The caller closes the store. Errors are those of [core.Store] where the database is the
// cause; see [core.ReasonOf].
func Open(ctx context.Context, dsn string, opts Options) (core.Store, error) {
	e, _, location, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	return e.open(ctx, location, opts)
}

// ReadSecretCheck reads the check value of the HMAC secret that a network's keys in the database that dsn names were
// made with, as [core.Store.ClaimSecret] has stored it. It is empty when there is none: no node has used the database
// for the network, or there is no database. Nothing is created, migrated or changed. ctx bounds the call.
func ReadSecretCheck(ctx context.Context, dsn string, network core.NetworkID, opts Options) (string, error) {
	e, _, location, err := parse(dsn)
	if err != nil {
		return "", err
	}
	return e.readSecretCheck(ctx, location, network, opts)
}

// Canonical returns the one spelling of dsn by which stores can be shared: two DSNs of one database have the same. It
// looks at directories and links, and creates nothing.
func Canonical(dsn string) (string, error) {
	e, scheme, location, err := parse(dsn)
	if err != nil {
		return "", err
	}
	location, err = e.canonical(location)
	if err != nil {
		return "", err
	}
	if e.shared {
		scheme = "postgres" // also known as postgresql
	}
	return scheme + "://" + location, nil
}

// Shared reports whether nodes on several machines can use the database of a DSN. They need the same secrets then.
func Shared(dsn string) bool {
	e, _, _, err := parse(dsn)
	return err == nil && e.shared
}

// Display names the database of a DSN for people: by the path of its file, or by its host and name. It holds no
// password.
func Display(dsn string) string {
	e, _, location, err := parse(dsn)
	if err != nil {
		return "a database" // and Open says what is wrong with its DSN
	}
	return e.display(location)
}

// parse splits a DSN and finds its engine. Errors do not repeat the DSN: those of some engines hold a password.
func parse(dsn string) (e engine, scheme, location string, err error) {
	known := engines()
	names := strings.Join(slices.Sorted(maps.Keys(known)), "://, ") + "://"
	scheme, location, ok := strings.Cut(dsn, "://")
	if !ok {
		return engine{}, "", "", fmt.Errorf("storage: the DSN has no scheme; known ones: %s", names)
	}
	if e, ok = known[scheme]; !ok {
		return engine{}, "", "", fmt.Errorf("storage: unknown scheme %q; known ones: %s", scheme+"://", names)
	}
	return e, scheme, location, nil
}

func openSQLite(ctx context.Context, path string, opts Options) (core.Store, error) {
	if err := checkSQLite(path); err != nil {
		return nil, err
	}
	s, err := sqlite.Open(ctx, path, sqlite.Options{Logger: opts.Logger})
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return s, nil
}

func readSecretCheckSQLite(
	ctx context.Context, path string, network core.NetworkID, opts Options,
) (string, error) {
	if err := checkSQLite(path); err != nil {
		return "", err
	}
	check, err := sqlite.ReadSecretCheck(ctx, path, network, sqlite.Options{Logger: opts.Logger})
	if err != nil {
		return "", fmt.Errorf("storage: %w", err)
	}
	return check, nil
}

func transferSQLite(_ context.Context, path string, logger *zap.Logger) (transfer.Database, error) {
	return sqlite.Transfer(path, logger)
}

func canonicalSQLite(path string) (string, error) {
	if err := checkSQLite(path); err != nil {
		return "", err
	}
	path, err := sqlite.Canonical(path)
	if err != nil {
		return "", fmt.Errorf("storage: %w", err)
	}
	return path, nil
}

// checkSQLite refuses a DSN with options, which would otherwise become part of the file's name.
func checkSQLite(path string) error {
	if strings.Contains(path, "?") {
		return errors.New("storage: sqlite:// takes no options: leave out everything from ? on")
	}
	return nil
}
