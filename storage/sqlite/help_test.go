package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

var testTime = time.Date(2026, 3, 14, 15, 9, 26, 535_897_000, time.UTC)

// openAt opens a store that is closed when the test ends.
func openAt(t *testing.T, path string, opts Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func testKey(id string) core.Key {
	return core.Key{
		ID: id, Kind: core.Issued, Status: core.StatusActive, CreateTime: testTime, UpdateTime: testTime,
	}
}

func create(t *testing.T, s *Store, id string) {
	t.Helper()
	if _, _, err := s.Create(t.Context(), testKey(id)); err != nil {
		t.Fatal(err)
	}
}

// outsidePool is a connection that belongs to no store, by its own name of the file.
func outsidePool(name string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", name)
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// outsider opens a connection to a file that belongs to no store: another process's, say.
func outsider(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := outsidePool(uri(path, busyTimeout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func outside(t *testing.T, path, statement string) {
	t.Helper()
	if _, err := outsider(t, path).ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func outsideText(t *testing.T, path, query string) string {
	t.Helper()
	return queryText(t, outsider(t, path), query)
}

// runOn runs a statement on a connection of a store's.
func runOn(ctx context.Context, conn sqlstore.Conn, statement string) error {
	stmt, err := conn.Prepare(ctx, statement)
	if err != nil {
		return err
	}
	_, err = stmt.Exec(ctx)
	return errors.Join(err, stmt.Close())
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	tooLong := time.After(time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-tooLong:
			t.Fatalf("did not happen: %s", what)
		}
	}
}

func wantReason(t *testing.T, err error, want core.Reason) {
	t.Helper()
	if err == nil || core.ReasonOf(err) != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

// pathOf is the file of a store.
func pathOf(tb testing.TB, s *Store) string {
	tb.Helper()
	return queryText(tb, s.readers, "SELECT file FROM pragma_database_list WHERE name = 'main'")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// current reports whether what is remembered may be used now.
func current(s *Store) bool {
	now := time.Now()
	return s.positions.Current(now.Sub(feed.Epoch), now.UnixNano())
}
