package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// querier is a connection or a pool of pgx. Each connection prepares a query when it is first run there, or not at all
// where the DSN says so.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// preparer is a [sqlstore.Preparer] of pgx.
type preparer struct{ on querier }

// Prepare returns a statement, which is prepared when it is run.
func (p preparer) Prepare(_ context.Context, query string) (sqlstore.Statement, error) {
	return statement{p.on, query}, nil
}

type statement struct {
	on    querier
	query string
}

// Query runs the statement.
func (s statement) Query(ctx context.Context, args ...any) (sqlstore.Rows, error) {
	r, err := s.on.Query(ctx, s.query, args...)
	if err != nil {
		return nil, err
	}
	return rows{r, nil}, nil
}

// Exec runs the statement.
func (s statement) Exec(ctx context.Context, args ...any) (int64, error) {
	tag, err := s.on.Exec(ctx, s.query, args...)
	if err == nil && s.query == commit && tag.String() != commit {
		return 0, errors.New("the transaction was rolled back in place of being committed")
	}
	return tag.RowsAffected(), err
}

// commit is the statement whose answer is checked: the server also accepts it to end a transaction that has failed.
const commit = "COMMIT"

// Close does nothing: the connections own what they have prepared.
func (s statement) Close() error { return nil }

// rows are those of pgx.
type rows struct {
	pgx.Rows
	then io.Closer // is closed after them; nil: nothing
}

// Close closes the rows.
func (r rows) Close() error {
	r.Rows.Close()
	if r.then != nil {
		return r.then.Close()
	}
	return nil
}

// connect opens a connection that sends no cancel requests.
func connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	config = config.Copy()
	withoutCancel(config)
	return pgx.ConnectConfig(ctx, config)
}

// withoutCancel has the one connection that a config is used for send no cancel request when a query is given up: it is
// closed only. A request opens a connection of its own, at a moment when clients leave because the server is slow, and
// some versions of PgBouncer crash on requests (https://github.com/pgbouncer/pgbouncer/issues/822). Queries are short,
// so a server that ends one to no purpose loses little.
func withoutCancel(config *pgx.ConnConfig) {
	dial, connected := config.DialFunc, new(atomic.Bool)
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if connected.Load() {
			return nil, errors.New("cancel requests are not sent")
		}
		return dial(ctx, network, addr)
	}
	config.AfterConnect = func(context.Context, *pgconn.PgConn) error {
		connected.Store(true)
		return nil
	}
}

// conn is a [sqlstore.Conn] of pgx.
type conn struct {
	preparer
	conn *pgx.Conn
}

// Discard closes the connection, and does not wait long for the server.
func (c conn) Discard(...io.Closer) { discard(c.conn) }

// ended is a context that has ended.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// discard closes a connection that may be broken: its context has ended, so that no farewell is waited for.
//
//nolint:contextcheck,nolintlint // a caller's context is not meant; contextcheck obeys this here and does not say so
func discard(c *pgx.Conn) {
	_ = c.Close(ended) // what is broken cannot be closed properly
}
