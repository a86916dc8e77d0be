package storage

import (
	"context"
	"fmt"

	"github.com/talos-edge/talos-edge/storage/internal/schema"
)

// Schema is the state of a database's schema.
type Schema = schema.Schema

// ReadSchema reads the state of the schema of the database that dsn names. It changes nothing and creates nothing: of a
// database that is missing the version is 0.
func ReadSchema(ctx context.Context, dsn string) (Schema, error) {
	return onSchema(dsn, func(e engine, location string) (Schema, error) { return e.readSchema(ctx, location) })
}

// MigrateUp brings the schema of the database that dsn names up by at most steps versions, or with 0 to the newest one,
// and creates the database when it is missing. It returns the state after that. [Open] does the same.
func MigrateUp(ctx context.Context, dsn string, steps int) (Schema, error) {
	return onSchema(dsn, func(e engine, location string) (Schema, error) { return e.migrateUp(ctx, location, steps) })
}

// MigrateDown takes the schema of the database that dsn names back by at most steps versions, with what only the later
// ones can hold: after the last step nothing is left. No server may run on the database.
func MigrateDown(ctx context.Context, dsn string, steps int) (Schema, error) {
	return onSchema(dsn, func(e engine, location string) (Schema, error) { return e.migrateDown(ctx, location, steps) })
}

func onSchema(dsn string, do func(engine, string) (Schema, error)) (Schema, error) {
	e, _, location, err := parse(dsn)
	if err != nil {
		return Schema{}, err
	}
	if _, err := e.canonical(location); err != nil { // checks the location
		return Schema{}, err
	}
	s, err := do(e, location)
	if err != nil {
		return Schema{}, fmt.Errorf("storage: %w", err)
	}
	return s, nil
}
