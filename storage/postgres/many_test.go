package postgres

import (
	"context"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/pgtest"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// queryCount counts the queries of a connection.
type queryCount int

func (n *queryCount) TraceQueryStart(
	ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData,
) context.Context {
	*n++
	return ctx
}

func (n *queryCount) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// While a transaction of many keys waits for the server, so does whoever revokes one.
func TestAThousandKeysAreCreatedByAHandfulOfQueries(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]string{"prepared": "", "not prepared": execMode} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			openAt(t, dsn, Options{})
			config, err := pgx.ParseConfig(dsn + options)
			must(t, err)
			var n queryCount
			config.Tracer = &n
			c, err := pgx.ConnectConfig(t.Context(), config)
			must(t, err)
			t.Cleanup(func() { discard(c) })
			w, err := sqlstore.NewWriter(t.Context(), preparer{c}, dialect(nil))
			must(t, err)
			keys := make([]core.Key, 1000)
			for i := range keys {
				keys[i] = testKey(strconv.Itoa(i))
				keys[i].RequestID = "request " + strconv.Itoa(i)
			}
			keys[7].ExpireTime = testTime
			results, err := w.CreateMany(t.Context(), core.NetworkID{}, keys, 2000)
			must(t, err)
			for i, r := range results {
				if !r.Created || r.Key.ID != keys[i].ID || r.Key.Sequence != uint64(i)+1 ||
					!r.Key.ExpireTime.Equal(keys[i].ExpireTime) {
					t.Fatalf("key %d: %+v", i, r)
				}
			}
			events, err := w.Finish(t.Context())
			must(t, err)
			if len(events) != len(keys) || n > 6 {
				t.Errorf("%d events, %d queries", len(events), n)
			}
		})
	}
}
