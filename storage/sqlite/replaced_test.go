package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"modernc.org/sqlite"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o600)
}

// replace puts a copy of a file in its place, as a backup that is restored under a running node does.
func replace(path string) error {
	if err := copyFile(path, path+".copy"); err != nil {
		return err
	}
	return os.Rename(path+".copy", path)
}

func revokeK(s *Store) error {
	_, err := s.Revoke(context.Background(), core.NetworkID{}, core.AnyKind, "k", core.Revocation{Time: testTime})
	return err
}

// TestAttack21_NothingIsAcknowledgedIntoALostFile takes the database away under a running store.
func TestAttack21_NothingIsAcknowledgedIntoALostFile(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		take     func(path string) error
		replaced bool // another file is in its place
	}{
		"removed":    {os.Remove, false},
		"moved away": {func(path string) error { return os.Rename(path, path+".old") }, false},
		"replaced":   {replace, true},
		"with its directory": {func(path string) error {
			return os.Rename(filepath.Dir(path), filepath.Dir(path)+".old")
		}, false},
		"all files removed": {func(path string) error {
			return errors.Join(os.Remove(path), os.Remove(path+"-wal"), os.Remove(path+"-shm"))
		}, false},
		"write-ahead log removed":  {func(path string) error { return os.Remove(path + "-wal") }, false},
		"write-ahead log replaced": {func(path string) error { return replace(path + "-wal") }, true},
		"shared memory removed":    {func(path string) error { return os.Remove(path + "-shm") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logs, seen := observer.New(zap.InfoLevel)
			path := filepath.Join(t.TempDir(), "data", "talos.db")
			s := openAt(t, path, Options{Logger: zap.New(logs)})
			create(t, s, "k")
			create(t, s, "l")
			must(t, tt.take(path))

			for range 3 {
				err := revokeK(s)
				wantReason(t, err, core.Unavailable)
				if err != nil && !strings.Contains(err.Error(), "restart the node") {
					t.Errorf("the error does not say what to do: %v", err)
				}
				wantReason(t, s.Ping(t.Context()), core.Unavailable)
			}
			k, err := getAtOnce(s)
			if tt.replaced {
				wantReason(t, err, core.Unavailable)
				if err != nil && !strings.Contains(err.Error(), "remove -wal and -shm") {
					t.Errorf("the error does not say that the write-ahead log of the earlier file must go: %v", err)
				}
				eventually(t, "cached verdicts are not used", func() bool { return !current(s) })
				wantReason(t, s.positions.Await(t.Context(), math.MaxInt64, math.MaxInt64), core.Unavailable)
			} else if err != nil || k.Status != core.StatusActive {
				t.Errorf("look-ups do not go on: %+v, %v", k, err)
			}
			errs := seen.FilterLevelExact(zapcore.ErrorLevel).All()
			if len(errs) != 1 || !strings.Contains(errs[0].Message, "restart the node") {
				t.Errorf("the log has %v", seen.All())
			}
		})
	}
}

// getAtOnce looks a key up on all connections of the pool, and returns the key or an error that one of them had.
func getAtOnce(s *Store) (core.Key, error) {
	var held []*sql.Conn
	defer func() {
		for _, conn := range held {
			_ = conn.Close()
		}
	}()
	for range cap(s.slots) - 1 {
		conn, err := s.readers.Conn(context.Background())
		if err != nil {
			return core.Key{}, err
		}
		held = append(held, conn)
	}
	return s.Get(context.Background(), core.NetworkID{}, "k")
}

// TestAttack21_AFileThatIsTakenAwayDuringACommit is lost after the store has looked for it.
func TestAttack21_AFileThatIsTakenAwayDuringACommit(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	var take bool
	s := openAt(t, path, Options{hooks: sqlstore.Hooks{BeforeCommit: func() error {
		if take {
			return os.Rename(path, path+".old")
		}
		return nil
	}}})
	create(t, s, "k")
	take = true
	wantReason(t, revokeK(s), core.Unavailable)
	if at := s.positions.At(feed.SlotOf(core.NetworkID{}, "k")); at != 2 {
		t.Errorf("the revocation may be in the file, and verdicts from before it are used: at %d", at)
	}
}

func TestAttack21_AFileThatIsPutBackIsUsedAgain(t *testing.T) {
	t.Parallel()
	logs, seen := observer.New(zap.InfoLevel)
	path := newDatabase(t).path
	s := openAt(t, path, Options{Logger: zap.New(logs)})
	create(t, s, "k")
	for _, other := range []bool{false, true} {
		must(t, os.Rename(path, path+".old"))
		if other {
			must(t, copyFile(path+".old", path))
		}
		wantReason(t, revokeK(s), core.Unavailable)
		must(t, os.Rename(path+".old", path))
		must(t, s.Ping(t.Context()))
		create(t, s, map[bool]string{false: "a", true: "b"}[other])
		eventually(t, "cached verdicts are used", func() bool { return current(s) })
	}
	if n := seen.FilterMessage("the database file is back").Len(); n != 2 {
		t.Errorf("the log has %v", seen.All())
	}
	must(t, revokeK(s))
	must(t, s.Close())
	if k, err := openAt(t, path, Options{}).Get(t.Context(), core.NetworkID{}, "k"); err != nil ||
		k.Status != core.StatusRevoked {
		t.Errorf("after a restart: %+v, %v", k, err)
	}
}

func TestAttack21_ALinkThatLeadsElsewhereIsAnotherFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("one", link); err != nil {
		t.Skipf("no symbolic links: %v", err)
	}
	s := openAt(t, filepath.Join(link, "talos.db"), Options{})
	create(t, s, "k")
	must(t, os.Remove(link))
	must(t, os.Symlink("two", link))
	wantReason(t, revokeK(s), core.Unavailable)
}

// TestAttack21_NoConnectionIsOpenedToAnotherFile replaces a connection of the readers after the file was replaced, in a
// store that has not noticed yet.
func TestAttack21_NoConnectionIsOpenedToAnotherFile(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	s := openAt(t, path, Options{rest: time.Hour})
	create(t, s, "k")
	must(t, os.Rename(path, path+".old"))
	must(t, openAtOnce(t, path))
	for i := range cap(s.slots) {
		conn, err := s.readers.Conn(t.Context())
		must(t, err) // all were open
		if i == 0 {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		}
		defer func() { _ = conn.Close() }()
	}
	if other, err := s.readers.Conn(t.Context()); err == nil {
		_ = other.Close()
		t.Error("a connection to the other file was opened")
	}
}

// openAtOnce makes a database and closes it.
func openAtOnce(t *testing.T, path string) error {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	must(t, err)
	return s.Close()
}

// TestAttack21_ADatabaseThatIsRestoredInPlaceIsNotUsed restores a backup into the open file, as sqlite3's .restore
// does. Its feed ends before what the store has read of it, so a revocation there gets a position below those of the
// verdicts in memory, which would stay valid.
func TestAttack21_ADatabaseThatIsRestoredInPlaceIsNotUsed(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]time.Duration{"the watcher notices": 0, "the writer notices": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, backup := newDatabase(t).path, filepath.Join(t.TempDir(), "backup.db")
			s := openAt(t, path, Options{rest: rest})
			create(t, s, "k")
			outside(t, path, "VACUUM INTO '"+backup+"'")
			create(t, s, "l")
			restore(t, path, backup)
			if rest == 0 {
				eventually(t, "cached verdicts are not used", func() bool { return !current(s) })
			}
			err := revokeK(s)
			wantReason(t, err, core.Unavailable)
			if err != nil && !strings.Contains(err.Error(), "restart the node") {
				t.Errorf("the error does not say what to do: %v", err)
			}
			_, err = s.Get(t.Context(), core.NetworkID{}, "k")
			wantReason(t, err, core.Unavailable)
			wantReason(t, s.Ping(t.Context()), core.Unavailable)
			if rest == 0 {
				wantReason(t, s.positions.Await(t.Context(), math.MaxInt64, math.MaxInt64), core.Unavailable)
			}
			must(t, s.Close())
			must(t, revokeK(openAt(t, path, Options{})))
		})
	}
}

// restore writes a backup into a database that is open.
func restore(t *testing.T, path, backup string) {
	t.Helper()
	conn, err := outsider(t, path).Conn(t.Context())
	must(t, err)
	must(t, conn.Raw(func(c any) error {
		source, ok := c.(interface {
			NewRestore(uri string) (*sqlite.Backup, error)
		})
		if !ok {
			return errors.New("the driver restores nothing")
		}
		b, err := source.NewRestore(backup)
		if err != nil {
			return err
		}
		_, err = b.Step(-1)
		return errors.Join(err, b.Finish())
	}))
	must(t, conn.Close())
}
