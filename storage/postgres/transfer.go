package postgres

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/storage/sqlstore"
	"github.com/talos-edge/talos-edge/storage/transfer"
)

// copyingOrigin is what the origin of a feed begins with while its database is being copied into.
const copyingOrigin = "copying "

// unlimited takes the bounds of the DSN or the server from a transaction, which takes as long as there are rows.
const unlimited = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"

// end is a database as one end of a copy.
type end struct {
	display string
	pool    *pgxpool.Pool
	logger  *zap.Logger
}

// Transfer returns the database that a DSN without its scheme names as one end of a copy. It has the schema of this
// build.
func Transfer(ctx context.Context, location string, logger *zap.Logger) (transfer.Database, error) {
	t, err := parseDSN(location)
	if err != nil {
		return nil, err
	}
	config := t.pool.Copy()
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // a query is seldom run twice
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return &end{Display(location), pool, logger}, nil
}

// Close closes the connections.
func (e *end) Close() { e.pool.Close() }

// Read calls f with a transaction that reads.
func (e *end) Read(ctx context.Context, f func(sqlstore.Preparer) error) error {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return e.begin(ctx, options, func(tx pgx.Tx) error { return f(preparer{tx}) })
}

// Write calls f with a transaction that no other copy writes beside.
func (e *end) Write(ctx context.Context, f func(transfer.Tx) error) error {
	return e.begin(ctx, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "LOCK TABLE feed IN EXCLUSIVE MODE"); err != nil {
			return err
		}
		return f(copier{preparer{tx}, tx, e.logger})
	})
}

func (e *end) begin(ctx context.Context, options pgx.TxOptions, f func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, e.pool, options, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, unlimited, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		return f(tx)
	})
}

// Explain names the database.
func (e *end) Explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", e.display, translate(err))
}

// SQL is PostgreSQL's.
func (*end) SQL() *transfer.SQL {
	d := dialect(nil)
	return &transfer.SQL{
		KeyIDIn: d.KeyIDIn, KeyIDs: d.KeyIDs,
		Empty: "TRUNCATE ",
		Now:   "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
		Mark: "SELECT CASE WHEN origin LIKE '" + copyingOrigin + "%' " +
			"THEN substr(origin, length('" + copyingOrigin + "') + 1)::bigint ELSE 0 END FROM feed",
		SetMark: "UPDATE feed SET origin = '" + copyingOrigin + "%d'",
	}
}

// copier is a transaction that inserts rows by COPY.
type copier struct {
	preparer
	tx     pgx.Tx
	logger *zap.Logger
}

// Insert adds rows.
func (c copier) Insert(ctx context.Context, t *sqlstore.Table, rows iter.Seq2[[]any, error]) (int64, error) {
	next, stop := iter.Pull2(rows)
	defer stop()
	return c.tx.CopyFrom(ctx, pgx.Identifier{t.Name}, t.Columns, pgx.CopyFromFunc(func() ([]any, error) {
		row, err, _ := next()
		return row, err
	}))
}

// Finish continues the feed and the numbers of keys beyond those that were copied.
func (c copier) Finish(ctx context.Context) error {
	for _, statement := range []string{
		"UPDATE feed_last SET last = (SELECT COALESCE(MAX(seq), 0) FROM events)",
		"SELECT setval('keys_created_seq', GREATEST(MAX(created_seq), 1)) FROM keys",
		"UPDATE feed SET origin = '', awaited = 0",
	} {
		if _, err := c.tx.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return restore(ctx, c.tx, c.logger)
}
