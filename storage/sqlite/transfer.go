package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strings"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/storage/sqlstore"
	"github.com/talos-edge/talos-edge/storage/transfer"
)

const (
	// insertRows is how many rows one statement inserts.
	insertRows = 32
	// insertCache is the page cache of a transaction that inserts many rows, in KiB: their ids are random, and so are
	// the pages of the index on them.
	insertCache = 64 << 10
)

// end is a database file as one end of a copy.
type end struct {
	path   string
	logger *zap.Logger
}

// Transfer returns the database file at path as one end of a copy. The file exists and has the schema of this build.
func Transfer(path string, logger *zap.Logger) (transfer.Database, error) {
	path, err := existing(path)
	if err != nil {
		return nil, err
	}
	return end{path, logger}, nil
}

// Close does nothing: nothing is open between transactions.
func (end) Close() {}

// Read calls f with a transaction that reads.
func (e end) Read(ctx context.Context, f func(sqlstore.Preparer) error) error {
	return withPool(uri(e.path, busyTimeout, "query_only(1)"), func(db *sql.DB) (err error) {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() {
			if rollback := tx.Rollback(); !errors.Is(rollback, sql.ErrTxDone) { // that ctx has ended
				err = errors.Join(err, rollback)
			}
		}()
		return f(sqlstore.SQLPreparer{On: tx})
	})
}

// Write calls f with the transaction that holds the write lock.
func (e end) Write(ctx context.Context, f func(transfer.Tx) error) error {
	return locked(ctx, e.path, e.logger, true, func(conn *sql.Conn) error {
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA cache_size = -%d", insertCache)); err != nil {
			return err
		}
		return f(inserter{sqlstore.SQLPreparer{On: conn}})
	})
}

// Explain names the file.
func (e end) Explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("database %s: %w", e.path, translate(err))
}

// SQL is SQLite's. A mark is a user_version below 0.
func (end) SQL() *transfer.SQL {
	d := dialect()
	return &transfer.SQL{
		KeyIDIn: d.KeyIDIn, KeyIDs: d.KeyIDs,
		Empty:   "DELETE FROM ",
		Now:     "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
		Mark:    "SELECT MIN(user_version, 0) FROM pragma_user_version",
		SetMark: "PRAGMA user_version = %d",
	}
}

// inserter is a transaction that inserts rows.
type inserter struct{ sqlstore.SQLPreparer }

// Insert adds rows, several with each statement.
func (i inserter) Insert(
	ctx context.Context, t *sqlstore.Table, rows iter.Seq2[[]any, error],
) (done int64, err error) {
	full, err := i.Prepare(ctx, insertInto(t, insertRows))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, full.Close()) }()
	args := make([]any, 0, insertRows*len(t.Columns))
	for row, err := range rows {
		if err != nil {
			return done, err
		}
		if args = append(args, row...); len(args) < cap(args) {
			continue
		}
		n, err := full.Exec(ctx, args...)
		if err != nil {
			return done, err
		}
		args, done = args[:0], done+n
	}
	if len(args) == 0 {
		return done, nil
	}
	n, err := sqlstore.Exec(ctx, i, insertInto(t, len(args)/len(t.Columns)), args...)
	return done + n, err
}

// insertInto is the statement that inserts a number of rows.
func insertInto(t *sqlstore.Table, rows int) string {
	row := "(?" + strings.Repeat(", ?", len(t.Columns)-1) + ")"
	return "INSERT INTO " + t.Name + " (" + strings.Join(t.Columns, ", ") + ") VALUES " +
		row + strings.Repeat(", "+row, rows-1)
}

// Finish leaves the rest to the node that opens the file first, as with a copy that [Backup] made.
func (i inserter) Finish(ctx context.Context) error {
	_, err := sqlstore.Exec(ctx, i, fmt.Sprintf("PRAGMA user_version = %d", copyMark))
	return err
}
