package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// onWriter opens a store and returns what makes it run a statement on its writing connection before each change from
// then on, also on a connection that it opened anew. "" ends that.
func onWriter(t *testing.T, opts Options) (*Store, func(statement string)) {
	t.Helper()
	var (
		s      *Store
		before atomic.Pointer[string]
	)
	opts.hooks.BeforeTake = func() {
		statement := before.Load()
		if statement == nil || *statement == "" {
			return
		}
		ctx := context.Background()
		conn, err := s.group.Connect(ctx)
		if err == nil {
			err = runOn(ctx, conn, *statement)
		}
		if err != nil {
			t.Errorf("%s: %v", *statement, err)
		}
	}
	s = openAt(t, newDatabase(t).path, opts)
	return s, func(statement string) { before.Store(&statement) }
}

// TestAttack22_FullDisk bounds the file's size, which SQLite answers with the same error as a disk that is full.
func TestAttack22_FullDisk(t *testing.T) {
	t.Parallel()
	logs, seen := observer.New(zap.InfoLevel)
	s, on := onWriter(t, Options{Logger: zap.New(logs)})
	create(t, s, "before")
	on("PRAGMA max_page_count = 1") // SQLite makes it the present size
	made := 0
	var err error
	for i := 0; err == nil && i < 10_000; i++ {
		if _, _, err = s.Create(t.Context(), testKey(fmt.Sprintf("key-%d", i))); err == nil {
			made++
		}
	}
	for range 3 {
		wantReason(t, err, core.Unavailable)
		_, _, err = s.Create(t.Context(), testKey("full"))
	}
	if _, err := s.Get(t.Context(), core.NetworkID{}, "before"); err != nil {
		t.Errorf("look-ups fail too: %v", err)
	}
	if got := s.positions.Changed(feed.EventCreated); got != uint64(made)+1 {
		t.Errorf("%d changes were applied, %d were made", got, made+1)
	}
	on("PRAGMA max_page_count = 1000000")
	create(t, s, "after")
	if seen.FilterMessage("writing to the database fails").Len() != 1 ||
		seen.FilterMessage("writing to the database works again").Len() != 1 {
		t.Errorf("the log has %v", seen.All())
	}
}

func TestAttack22_ReadOnlyDatabase(t *testing.T) {
	t.Parallel()
	s, on := onWriter(t, Options{})
	create(t, s, "before")
	on("PRAGMA query_only = 1")
	_, _, err := s.Create(t.Context(), testKey("during"))
	wantReason(t, err, core.Unavailable)
	if _, err := s.Get(t.Context(), core.NetworkID{}, "before"); err != nil {
		t.Errorf("look-ups fail too: %v", err)
	}
	on("PRAGMA query_only = 0")
	create(t, s, "after")
}

func TestAttack22_LockedDatabase(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	s := openAt(t, path, Options{busyTimeout: 20 * time.Millisecond})
	patient := openAt(t, path, Options{busyTimeout: time.Minute})
	create(t, s, "before")
	lock := outsider(t, path)
	execOn(t, lock, "BEGIN EXCLUSIVE")

	_, _, err := s.Create(t.Context(), testKey("during"))
	wantReason(t, err, core.Unavailable)
	if _, err := s.Get(t.Context(), core.NetworkID{}, "before"); err != nil {
		t.Errorf("look-ups fail too: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, _, err = patient.Create(ctx, testKey("impatient caller"))
	wantReason(t, err, core.DeadlineExceeded)

	execOn(t, lock, "ROLLBACK")
	create(t, s, "after")
	create(t, patient, "after that")
}

func execOn(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestAttack22_TheWriterReopensAConnectionThatWasLost(t *testing.T) {
	t.Parallel()
	var (
		s    *Store
		lose atomic.Bool
	)
	s = openAt(t, newDatabase(t).path, Options{hooks: sqlstore.Hooks{BeforeTake: func() {
		if lose.CompareAndSwap(true, false) {
			conn, err := s.group.Connect(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			conn.Discard()
		}
	}}})
	create(t, s, "before")
	lose.Store(true)
	_, _, err := s.Create(t.Context(), testKey("during"))
	wantReason(t, err, core.Unavailable)
	create(t, s, "after")
}

func TestAttack22_TheWatcherHealsByItself(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "talos.db")
	other := openAt(t, path, Options{})
	logs, seen := observer.New(zap.InfoLevel)
	s := openAt(t, path, Options{Logger: zap.New(logs)})
	outside(t, path, "ALTER TABLE events RENAME TO away")
	away := time.Now().UnixNano()
	eventually(t, "the failure is logged", func() bool {
		return seen.FilterMessage("watching the database for changes fails").Len() == 1
	})
	eventually(t, "what is remembered is used while polls fail", func() bool { return current(s) })
	stale := s.positions.CompleteAt()
	if stale > away {
		t.Error("it says that it is complete while it cannot know")
	}
	outside(t, path, "ALTER TABLE away RENAME TO events")
	create(t, other, "k")
	eventually(t, "the change is applied", func() bool { return s.positions.Applied() == 1 })
	eventually(t, "it is complete again", func() bool { return s.positions.CompleteAt() > stale })
	if n := seen.FilterMessage("watching the database for changes fails").Len(); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// TestAttack05_AWriterPassesOverNoChangeOfAnotherProcess lets two stores change keys in turn, neither of which watches
// the file: only their writers can see what the other has done.
func TestAttack05_AWriterPassesOverNoChangeOfAnotherProcess(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	blind := Options{rest: time.Hour}
	a, b := openAt(t, path, blind), openAt(t, path, blind)
	for i := range 5 {
		create(t, b, fmt.Sprintf("b-%d", i))
	}
	if got := a.positions.Applied(); got != 0 {
		t.Fatalf("a is not blind: it is at %d", got)
	}
	create(t, a, "a")
	if got := a.positions.Applied(); got != 6 {
		t.Errorf("a is at %d", got)
	}
	if got := a.positions.Changed(feed.EventCreated); got != 6 {
		t.Errorf("a took in %d changes", got)
	}
	for i := range 5 {
		if a.positions.At(feed.SlotOf(core.NetworkID{}, fmt.Sprintf("b-%d", i))) == 0 {
			t.Errorf("the slot of b-%d was not raised", i)
		}
	}
}

func TestAGapOfAnyLengthIsFilled(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	s := openAt(t, path, Options{rest: time.Hour})
	const n = 2*core.MaxEvents + 1
	outside(t, path, fmt.Sprintf(`INSERT INTO events (network, key_id, kind, time, reason)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT zeroblob(16), 'k' || i, 1, 0, 0 FROM n`, n))
	create(t, s, "last")
	if got := s.positions.Changed(feed.EventCreated); got != n+1 || s.positions.Applied() != n+1 {
		t.Errorf("%d changes were taken in, at %d", got, s.positions.Applied())
	}
}

func TestConnectionsThatWereReopenedLeaveNothingOpen(t *testing.T) {
	t.Parallel()
	s, on := onWriter(t, Options{})
	on("PRAGMA query_only = 1")
	for range 3 {
		_, _, err := s.Create(t.Context(), testKey("k"))
		wantReason(t, err, core.Unavailable)
	}
	path := pathOf(t, s)
	if n := s.writing.Stats().OpenConnections; n > 1 {
		t.Errorf("%d connections are open", n)
	}
	on("")
	create(t, s, "k")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The last connection takes the write-ahead log away: one that was left open would keep it.
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the write-ahead log is still there: %v", err)
	}
}
