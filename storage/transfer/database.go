package transfer

import (
	"context"
	"errors"
	"iter"

	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// Database is one end of a copy, with the schema of this build.
type Database interface {
	// Read calls f with a transaction that reads as of one moment and changes nothing. Several may run at once.
	Read(ctx context.Context, f func(sqlstore.Preparer) error) error
	// Write calls f with a transaction that no other one of Write runs beside, and commits it unless f returns an
	// error.
	Write(ctx context.Context, f func(Tx) error) error
	// Explain adds to an error of the driver which database it comes from and what it means. nil stays nil.
	Explain(err error) error
	// SQL is what the engine's SQL has of its own.
	SQL() *SQL
	// Close ends it. No transaction may be under way.
	Close()
}

// Tx is a transaction that writes.
type Tx interface {
	sqlstore.Preparer
	// Insert adds rows to a table, until an error comes with one, and returns how many.
	Insert(ctx context.Context, t *sqlstore.Table, rows iter.Seq2[[]any, error]) (int64, error)
	// Finish removes the mark, and makes the database one of its own, whose feed continues under another name and
	// beyond all positions that the source can have given.
	Finish(ctx context.Context) error
}

// SQL is what an engine's SQL has of its own.
type SQL struct {
	// KeyIDIn and KeyIDs are those of a [sqlstore.Dialect].
	KeyIDIn string
	KeyIDs  func(ids []string) (any, error)

	Empty   string // with a table's name behind it, removes all of its rows
	Now     string // the present by the database's clock, in microseconds
	Mark    string // selects the mark, or 0
	SetMark string // sets the mark to %d, a negative number
}

// view is a transaction on a database. Its errors are explained.
type view struct {
	sqlstore.Preparer
	db Database
}

// read calls f with a transaction that reads.
func read(ctx context.Context, db Database, f func(*view) error) error {
	var own error
	err := db.Read(ctx, func(p sqlstore.Preparer) error {
		own = f(&view{p, db})
		return own
	})
	if own != nil {
		return own // which may be the other database's
	}
	return db.Explain(err)
}

// write calls f with a transaction that writes.
func write(ctx context.Context, db Database, f func(*writer) error) error {
	var own error
	err := db.Write(ctx, func(tx Tx) error {
		own = f(&writer{view{tx, db}, tx})
		return own
	})
	if own != nil {
		return own
	}
	return db.Explain(err)
}

// number runs a query for one number.
func (v *view) number(ctx context.Context, query string) (n int64, err error) {
	err = v.one(ctx, query, []any{&n})
	return n, err
}

// one runs a query for one row.
func (v *view) one(ctx context.Context, query string, targets []any) error {
	return v.db.Explain(sqlstore.Each(ctx, v, query, func(rows sqlstore.Rows) error {
		return rows.Scan(targets...)
	}))
}

// errEnough ends a query whose further rows are not needed.
var errEnough = errors.New("enough")

// rows are the rows of a table; where is a condition, or empty. A row is valid until the next one.
func (v *view) rows(ctx context.Context, t *sqlstore.Table, where string, args ...any) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		err := t.Rows(ctx, v, where, func(row []any) error {
			if !yield(row, nil) {
				return errEnough
			}
			return nil
		}, args...)
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, v.db.Explain(err))
		}
	}
}

// writer is a view that also writes.
type writer struct {
	view
	tx Tx
}

// exec runs a statement.
func (w *writer) exec(ctx context.Context, statement string, args ...any) error {
	_, err := sqlstore.Exec(ctx, w, statement, args...)
	return w.db.Explain(err)
}

// empty removes all rows of a table.
func (w *writer) empty(ctx context.Context, table string) error {
	return w.exec(ctx, w.db.SQL().Empty+table)
}

// insert adds rows to a table.
func (w *writer) insert(ctx context.Context, t *sqlstore.Table, rows iter.Seq2[[]any, error]) error {
	var own error // the source's
	_, err := w.tx.Insert(ctx, t, func(yield func([]any, error) bool) {
		for row, err := range rows {
			if err != nil {
				own = err
			}
			if !yield(row, err) {
				return
			}
		}
	})
	if own != nil {
		return own
	}
	return w.db.Explain(err)
}
