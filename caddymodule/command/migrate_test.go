package command

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/storage"
)

func migrateIn(t *testing.T, file string, args ...string) (stdout string, err error) {
	t.Helper()
	stdout, _, err = runTree(t.Context(), "", append([]string{"migrate", "--database", "sqlite://" + file}, args...)...)
	return stdout, err
}

func TestMigrateGoesUpAndDownAndTellsTheVersion(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "talos.db")
	want := func(stdout string, err error, text string) {
		t.Helper()
		if err != nil || stdout != text {
			t.Errorf("%v: %q, want %q", err, stdout, text)
		}
	}
	out, err := migrateIn(t, file, "status")
	golden(t, "migrate/none", out)
	if _, statErr := os.Stat(file); err != nil || statErr == nil {
		t.Errorf("status made a database, or failed: %v", err)
	}
	out, err = migrateIn(t, file, "up", "--steps", "1")
	want(out, err, "version 1 (the newest is 6)\n")
	out, err = migrateIn(t, file, "status")
	golden(t, "migrate/one", out)
	if err != nil {
		t.Error(err)
	}
	out, err = migrateIn(t, file, "up")
	want(out, err, "version 6 (the newest)\n")
	out, err = migrateIn(t, file, "up")
	want(out, err, "version 6 (the newest)\n")
	store, err := storage.Open(t.Context(), "sqlite://"+file, storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}

	if out, err = migrateIn(t, file, "down"); err == nil || out != "" {
		t.Errorf("it went down without being told how far: %q", out)
	}
	out, err = migrateIn(t, file, "down", "--steps", "1")
	if err == nil || !strings.Contains(err.Error(), "--yes") || out != "" {
		t.Errorf("without a terminal to ask it went down: %v, %q", err, out)
	}
	out, err = migrateIn(t, file, "down", "--steps", "1", "--yes")
	want(out, err, "version 5 (the newest is 6)\n")
	out, err = migrateIn(t, file, "down", "--steps", "9", "-y")
	want(out, err, "version 0 (no schema)\n")
	out, err = migrateIn(t, file, "up")
	want(out, err, "version 6 (the newest)\n")
}

func TestOnlyYesConfirmsTheLossOfData(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{
		"y\n": true, "Yes\r\n": true, "y": true, "\n": false, "": false, "n\n": false, "yes, but\n": false,
	} {
		if err := confirmed(strings.NewReader(answer)); (err == nil) != want {
			t.Errorf("%q: %v", answer, err)
		}
	}
}

func TestMigrateRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"no database to take down": {"down", "--steps", "1", "--yes"},
		"steps below zero, up":     {"up", "--steps", "-1"},
		"steps below zero, down":   {"down", "--steps", "-1", "--yes"},
		"an argument":              {"up", "1"},
		"no such command":          {"sideways"},
	} {
		if out, err := migrateIn(t, filepath.Join(dir, "talos.db"), args...); err == nil || out != "" {
			t.Errorf("%s: %q", name, out)
		}
	}
	for _, dsn := range []string{"mysql://x", "talos.db", "sqlite://a.db?mode=memory", "sqlite://"} {
		if _, _, err := runTree(t.Context(), "", "migrate", "up", "--database", dsn); err == nil {
			t.Errorf("%q was taken", dsn)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v: made %v", err, entries)
	}
}

func TestMigrateTakesTheDatabaseOfTheEnvironmentOrOfServe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env.db")
	t.Setenv(envDSN, "sqlite://"+file)
	if _, stderr, err := runTree(t.Context(), "", "migrate", "up"); err != nil {
		t.Fatal(err, stderr)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestMigrateSaysThatItWaitsForALockedDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "talos.db")
		if _, err := migrateIn(t, file, "up"); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", file)
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		if _, err := db.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(3*time.Second, func() { _ = db.Close() }) // rolls back
		_, stderr, err := runTree(t.Context(), "", "migrate", "--database", "sqlite://"+file, "status")
		if err != nil || !strings.Contains(stderr, "locked") {
			t.Errorf("%v: it says %q", err, stderr)
		}
	})
}
