package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/internal/schema"
)

func TestTheFileAndItsDirectoryAreTheOwnersAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "deep")
	s := openAt(t, filepath.Join(dir, "talos.db"), Options{})
	create(t, s, "k")
	for path, want := range map[string]os.FileMode{
		dir: 0o700, filepath.Dir(dir): 0o700,
		filepath.Join(dir, "talos.db"): 0o600, filepath.Join(dir, "talos.db-wal"): 0o600,
		filepath.Join(dir, "talos.db-shm"): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: %o, want %o", path, got, want)
		}
	}
}

func TestCloseLeavesOneFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openAt(t, filepath.Join(dir, "talos.db"), Options{})
	create(t, s, "k")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestTheSettingsOfEachConnection(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	s := openAt(t, d.path, Options{})
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000", "query_only": "1",
	} {
		if got := queryText(t, s.readers, "PRAGMA "+pragma); got != want {
			t.Errorf("reader: %s is %s, want %s", pragma, got, want)
		}
	}
	writing, err := outsidePool(uri(d.path, busyTimeout))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writing.Close() }()
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "query_only": "0"} {
		if got := queryText(t, writing, "PRAGMA "+pragma); got != want {
			t.Errorf("writer: %s is %s, want %s", pragma, got, want)
		}
	}
}

func TestCanonicalIsOneSpellingAndCreatesNothing(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "real")
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "link")); err != nil {
		t.Skipf("no symbolic links: %v", err)
	}
	if err := os.WriteFile(filepath.Join(target, "there.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"link/there.db":           "real/there.db",
		"link/../link/there.db":   "real/there.db",
		"link/new.db":             "real/new.db",
		"link/no/such/dir/x.db":   "real/no/such/dir/x.db",
		"real//./new.db":          "real/new.db",
		"with space & ?#%41/x.db": "with space & ?#%41/x.db",
	} {
		got, err := Canonical(dir + "/" + path)
		if err != nil || got != filepath.Join(dir, filepath.FromSlash(want)) {
			t.Errorf("%s: %s, %v", path, got, err)
		}
	}
	if entries, err := os.ReadDir(target); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
	for _, bad := range []string{"", ":memory:", filepath.Join(target, "there.db", "below-a-file.db")} {
		if got, err := Canonical(bad); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}

func TestAnyPathWillDo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b?c#d%20e&f=g;é", "x?mode=memory.db")
	s := openAt(t, path, Options{})
	create(t, s, "k")
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestTwoThatStartAtOnceOnAnEmptyFileBothSucceed(t *testing.T) {
	t.Parallel()
	for range 5 {
		path := newDatabase(t).path
		type opened struct {
			s   *Store
			err error
		}
		results := make(chan opened, 6)
		for range cap(results) {
			go func() {
				s, err := Open(t.Context(), path, Options{})
				results <- opened{s, err}
			}()
		}
		for range cap(results) {
			r := <-results
			if r.err != nil {
				t.Error(r.err)
				continue
			}
			t.Cleanup(func() { _ = r.s.Close() })
		}
		s := openAt(t, path, Options{})
		if n := queryText(t, s.readers, "SELECT COUNT(*) FROM goose_db_version WHERE version_id = 1"); n != "1" {
			t.Errorf("the first migration was recorded %s times", n)
		}
	}
}

func TestAMigrationHasTheWriteLockBeforeItLooks(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	if err := createFile(path); err != nil {
		t.Fatal(err)
	}
	impatient, err := outsidePool(uri(path, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = impatient.Close() }()
	err = inTransaction(t.Context(), path, zap.NewNop(), true, func(*schema.Migrations) error {
		if _, err := impatient.ExecContext(t.Context(), "BEGIN IMMEDIATE"); !isBusy(err) {
			t.Errorf("another process could begin: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestADatabaseOfANewerSchemaIsRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	s := openAt(t, path, Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	newerSchema(t, path, migrations().New().Newest+1)
	_, err := Open(t.Context(), path, Options{})
	if core.ReasonOf(err) != core.FailedPrecondition || !strings.Contains(err.Error(), "99") {
		t.Errorf("opened with %v", err)
	}
}

// downTo takes the schema of a file back to a version.
func downTo(t *testing.T, path string, version int64) {
	t.Helper()
	_, err := MigrateDown(t.Context(), path, int(migrations().New().Newest-version))
	must(t, err)
}

// newerSchema makes the schema of a file one that a later build has migrated, and that builds may run on from those on
// which know a version.
func newerSchema(t *testing.T, path string, oldest int64) {
	t.Helper()
	outside(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
	outside(t, path, fmt.Sprintf("UPDATE compatibility SET oldest = %d", oldest))
	outside(t, path, "ALTER TABLE keys ADD COLUMN added_later INTEGER NOT NULL DEFAULT 7")
}

func TestADatabaseOfANewerSchemaThatThisBuildMayRunOnIsUsedAndLeftAsItIs(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	s := openAt(t, path, Options{})
	create(t, s, "before")
	must(t, s.Close())
	newerSchema(t, path, migrations().New().Newest)
	s = openAt(t, path, Options{})
	create(t, s, "after")
	if _, err := s.Get(t.Context(), core.NetworkID{}, "before"); err != nil {
		t.Error(err)
	}
	if got := outsideText(t, path, "SELECT sum(added_later) FROM keys"); got != "14" {
		t.Errorf("the column of the later build holds %s in all", got)
	}
	for what, migrate := range map[string]func(context.Context, string, int) (schema.Schema, error){
		"up": MigrateUp, "down": MigrateDown,
	} {
		state, err := migrate(t.Context(), path, 1)
		switch {
		case what == "up" && (err != nil || state.Version != 99):
			t.Errorf("up: %+v, %v", state, err)
		case what == "down" && core.ReasonOf(err) != core.FailedPrecondition:
			t.Errorf("down: %v", err)
		}
	}
	if state, err := ReadState(t.Context(), path); err != nil || state.Keys != 2 || state.Version != 99 {
		t.Errorf("its state reads %+v, %v", state, err)
	}
}

func TestMigrationsGoUpAndDown(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	logs, seen := observer.New(zap.InfoLevel)
	s := openAt(t, path, Options{Logger: zap.New(logs)})
	if n := seen.FilterMessage("migrated the database").Len(); n == 0 {
		t.Error("the migration was not logged")
	}
	before := queryText(t, s.readers, "SELECT group_concat(sql, ';') FROM sqlite_schema ORDER BY name")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := inTransaction(t.Context(), path, zap.NewNop(), true, func(m *schema.Migrations) error {
		_, err := m.Down(t.Context(), 100)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path, Options{})
	after := queryText(t, s.readers, "SELECT group_concat(sql, ';') FROM sqlite_schema ORDER BY name")
	if len(after) != len(before) {
		t.Errorf("down and up again gives\n%s\nand not\n%s", after, before)
	}
}

func TestKeysOfTheFirstSchemaReadTheSameAfterTheMigration(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	s := openAt(t, path, Options{})
	create(t, s, "before")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := inTransaction(t.Context(), path, zap.NewNop(), true, func(m *schema.Migrations) error {
		_, err := m.Down(t.Context(), int(migrations().New().Newest)-1)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path, Options{})
	k, err := s.Get(t.Context(), core.NetworkID{}, "before")
	if err != nil || k.Status != core.StatusActive || !k.RateLimit.IsZero() || !k.CreateTime.Equal(testTime) {
		t.Errorf("the key reads %+v, %v", k, err)
	}
	create(t, s, "after")
	page, err := s.List(t.Context(), core.ListQuery{Kind: core.Issued, Now: testTime, Limit: 10})
	if err != nil || len(page.Keys) != 2 || page.Keys[0].ID != "before" {
		t.Errorf("the list is %+v, %v", page, err)
	}
}

func TestAMigrationThatFailsLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	if err := createFile(path); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := inTransaction(t.Context(), path, zap.NewNop(), true, func(m *schema.Migrations) error {
		if _, err := m.Up(t.Context(), 0); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if n := outsideText(t, path, "SELECT COUNT(*) FROM sqlite_schema"); n != "0" {
		t.Errorf("%s tables and indexes were left", n)
	}
}

func TestAFileThatIsNoDatabaseIsUnavailableAndLeftAlone(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	text := strings.Repeat("this is a text and no database. ", 100)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, Options{}); core.ReasonOf(err) != core.Unavailable {
		t.Errorf("opened with %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("the file was changed, %v", err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, newDatabase(t).path, Options{}); core.ReasonOf(err) != core.DeadlineExceeded {
		t.Errorf("opened with %v", err)
	}
}
