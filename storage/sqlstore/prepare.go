package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/talos-edge/talos-edge/core"
)

// Preparer is where statements are prepared: a [*sql.DB], [*sql.Conn] or [*sql.Tx].
type Preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// statement is a query, and where its prepared form goes.
type statement struct {
	to    **sql.Stmt
	query string
}

// prepared are statements to be closed together.
type prepared []*sql.Stmt

// Close closes the statements. Those of a [*sql.Conn] must be closed before it: database/sql does not do it, and the
// driver then keeps the file open.
func (p prepared) Close() error {
	var err error
	for _, stmt := range p {
		err = errors.Join(err, stmt.Close())
	}
	return err
}

// prepare prepares all statements or none.
func prepare(ctx context.Context, p Preparer, statements ...statement) (prepared, error) {
	var done prepared
	for _, s := range statements {
		stmt, err := p.PrepareContext(ctx, s.query) //nolint:sqlclosecheck // prepared.Close does
		if err != nil {
			return nil, errors.Join(fmt.Errorf("prepare statement: %w", err), done.Close())
		}
		*s.to = stmt
		done = append(done, stmt)
	}
	return done, nil
}

// each runs a query and calls row for each of its rows, to the last one: only then has a statement that changes
// something and returns rows done all of its work for certain.
func each(ctx context.Context, stmt *sql.Stmt, row func(*sql.Rows) error, args ...any) error {
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return eachOf(rows, row)
}

// eachOf calls row for each of rows, and closes them.
func eachOf(rows *sql.Rows, row func(*sql.Rows) error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// keys runs a query for keyColumns and calls f for each key.
func keys(ctx context.Context, stmt *sql.Stmt, network core.NetworkID, f func(core.Key), args ...any) error {
	var row keyRow
	targets := row.targets()
	return each(ctx, stmt, func(rows *sql.Rows) error {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		k, err := row.key(network)
		if err != nil {
			return err
		}
		f(k)
		return nil
	}, args...)
}

// oneKey runs a query for keyColumns that has at most one row.
func oneKey(
	ctx context.Context, stmt *sql.Stmt, network core.NetworkID, args ...any,
) (k core.Key, found bool, err error) {
	err = keys(ctx, stmt, network, func(row core.Key) { k, found = row, true }, args...)
	return k, found, err
}
