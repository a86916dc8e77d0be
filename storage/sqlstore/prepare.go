package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/talos-edge/talos-edge/core"
)

// Preparer is where statements are prepared: a connection or a pool of an engine's driver.
type Preparer interface {
	Prepare(ctx context.Context, query string) (Statement, error)
}

// Statement is a prepared statement. Its parameters are $1, $2 and so on.
type Statement interface {
	// Query runs the statement. The caller closes the rows.
	Query(ctx context.Context, args ...any) (Rows, error)
	// Exec runs the statement and returns how many rows it has changed.
	Exec(ctx context.Context, args ...any) (int64, error)
	io.Closer
}

// Rows are the result of a statement. Next returns false after the last row and at an error, which Err then returns.
type Rows interface {
	Next() bool
	Scan(targets ...any) error
	Err() error
	io.Closer
}

// statement is a query, and where its prepared form goes.
type statement struct {
	to    *Statement
	query string
}

// prepared are statements to be closed together.
type prepared []Statement

// Close closes the statements. Those of a connection must be closed before it: database/sql does not do it, and the
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
		stmt, err := p.Prepare(ctx, s.query)
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
func each(ctx context.Context, stmt Statement, row func(Rows) error, args ...any) error {
	rows, err := stmt.Query(ctx, args...)
	if err != nil {
		return err
	}
	return eachOf(rows, row)
}

// eachOf calls row for each of rows, and closes them.
func eachOf(rows Rows, row func(Rows) error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// One runs a query that has at most one row, and reports whether it had one.
func One(ctx context.Context, stmt Statement, targets []any, args ...any) (found bool, err error) {
	err = each(ctx, stmt, func(rows Rows) error {
		found = true
		return rows.Scan(targets...)
	}, args...)
	return found && err == nil, err
}

// keys runs a query for keyColumns and calls f for each key.
func keys(ctx context.Context, stmt Statement, network core.NetworkID, f func(core.Key), args ...any) error {
	var row keyRow
	targets := row.targets()
	return each(ctx, stmt, func(rows Rows) error {
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
	ctx context.Context, stmt Statement, network core.NetworkID, args ...any,
) (k core.Key, found bool, err error) {
	err = keys(ctx, stmt, network, func(row core.Key) { k, found = row, true }, args...)
	return k, found, err
}
