package postgres

import (
	"cmp"
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

var testTime = time.Date(2026, 3, 14, 15, 9, 26, 535_897_000, time.UTC)

// openAt opens a store that is closed when the test ends.
func openAt(tb testing.TB, dsn string, opts Options) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), location(dsn), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func testKey(id string) core.Key {
	return core.Key{
		ID: id, Kind: core.Issued, Status: core.StatusActive, CreateTime: testTime, UpdateTime: testTime,
	}
}

func create(t *testing.T, s core.Store, id string) {
	t.Helper()
	if _, _, err := s.Create(t.Context(), testKey(id)); err != nil {
		t.Fatal(err)
	}
}

func revoke(ctx context.Context, s core.Store, id string) error {
	_, err := s.Revoke(ctx, core.NetworkID{}, core.Issued, id, core.Revocation{Time: testTime})
	return err
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	tooLong := time.After(2 * time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-tooLong:
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// eventuallyWorks waits until a call succeeds.
func eventuallyWorks(t *testing.T, what string, call func() error) {
	t.Helper()
	eventually(t, what, func() bool { return call() == nil })
}

func wantReason(t *testing.T, err error, want core.Reason) {
	t.Helper()
	if err == nil || core.ReasonOf(err) != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// queryText runs a query on a connection that belongs to no store, and returns the text that it answers.
func queryText(tb testing.TB, dsn, query string) (text string) {
	tb.Helper()
	must(tb, onDatabase(tb, dsn, func(c *pgx.Conn) error {
		return c.QueryRow(tb.Context(), query).Scan(&text)
	}))
	return text
}

// execute runs statements without parameters on a connection that belongs to no store.
func execute(tb testing.TB, dsn, statements string) {
	tb.Helper()
	must(tb, onDatabase(tb, dsn, func(c *pgx.Conn) error {
		_, err := c.Exec(tb.Context(), statements)
		return err
	}))
}

func onDatabase(tb testing.TB, dsn string, do func(*pgx.Conn) error) error {
	tb.Helper()
	c, err := pgx.Connect(tb.Context(), dsn)
	if err != nil {
		return err
	}
	err = do(c)
	return cmp.Or(err, c.Close(tb.Context()))
}

// hold runs a statement in a transaction that ends when release is called.
func hold(t *testing.T, dsn, statement string) (release func()) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	must(t, err)
	t.Cleanup(func() { discard(c) })
	for _, s := range []string{"BEGIN", statement} {
		_, err := c.Exec(t.Context(), s)
		must(t, err)
	}
	return func() {
		t.Helper()
		_, err := c.Exec(t.Context(), commit)
		must(t, err)
	}
}

// slotOf is the position of the last change of a key that a store has applied.
func slotOf(s *Store, id string) uint64 { return s.positions.At(feed.SlotOf(core.NetworkID{}, id)) }

// wantSound checks that the tables of a database agree, and that its feed says once what was done and has no gap.
func wantSound(t *testing.T, dsn string) {
	t.Helper()
	for query, want := range map[string]string{
		"SELECT max(seq) - count(*) FROM events":                                 "0",
		"SELECT (SELECT max(seq) FROM events) - (SELECT last FROM feed_last)":    "0",
		"SELECT count(*) - count(DISTINCT (network, key_id, kind)) FROM events":  "0",
		"SELECT (SELECT count(*) FROM keys) - count(*) FROM events WHERE kind=1": "0",
		"SELECT count(*) FROM keys FULL JOIN events USING (network, key_id) WHERE events.kind = 1 AND " +
			"(keys.key_id IS NULL OR events.key_id IS NULL)": "0",
		"SELECT (SELECT count(*) FROM keys WHERE status = 2) - count(*) FROM events WHERE kind = 2": "0",
		"SELECT (SELECT count(*) FROM keys WHERE status = 1) - sum(keys) FROM issued_prefixes":      "0",
	} {
		if got := queryText(t, dsn, "SELECT ("+query+")::text"); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}
