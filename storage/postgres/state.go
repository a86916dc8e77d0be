package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/pressly/goose/v3"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// ReadState reads what a database says of itself, as of one moment. It changes nothing.
func ReadState(ctx context.Context, location string) (*sqlstore.State, error) {
	s := &sqlstore.State{Newest: migrations().New().Newest}
	err := reading(ctx, location, func(tx *sql.Tx) error {
		there, err := hasTable(ctx, tx, goose.DefaultTablename)
		if err != nil || !there {
			return err
		}
		return sqlstore.ReadState(ctx, tx, s)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ReadSecretCheck reads the check value of the HMAC secret that a network's keys in a database were made with, whatever
// version its schema has. It is empty when no node has used the database for the network. Nothing is changed.
func ReadSecretCheck(ctx context.Context, location string, network core.NetworkID) (check string, err error) {
	err = reading(ctx, location, func(tx *sql.Tx) error {
		there, err := hasTable(ctx, tx, "secrets")
		if err != nil || !there {
			return err
		}
		checks, err := sqlstore.ReadChecks(ctx, tx)
		check = checks[network]
		return err
	})
	return check, err
}

// reading calls f in a transaction that reads as of one moment.
func reading(ctx context.Context, location string, f func(*sql.Tx) error) error {
	t, err := parseDSN(location)
	if err != nil {
		return err
	}
	err = withDB(t, func(db *sql.DB) (err error) {
		tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, tx.Rollback()) }()
		return f(tx)
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", Display(location), translate(err))
	}
	return nil
}

func hasTable(ctx context.Context, tx *sql.Tx, name string) (there bool, err error) {
	err = tx.QueryRowContext(ctx, "SELECT to_regclass($1) IS NOT NULL", name).Scan(&there)
	return there, err
}
