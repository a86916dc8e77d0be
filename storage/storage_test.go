package storage_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOpenPicksTheEngineByScheme(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "talos.db")
	s, err := storage.Open(t.Context(), "sqlite://"+filepath.ToSlash(path), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestOpenTakesAPathRelativeToTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	s, err := storage.Open(t.Context(), "sqlite://rel.db", storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("rel.db"); err != nil {
		t.Error(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if here, err = filepath.EvalSymlinks(here); err != nil {
		t.Fatal(err)
	}
	got, err := storage.Canonical("sqlite://./x/../rel.db")
	if want := "sqlite://" + filepath.Join(here, "rel.db"); err != nil || got != want {
		t.Errorf("canonical is %s, %v; want %s", got, err, want)
	}
}

func TestADSNThatIsNotUnderstoodIsRefused(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"", "talos.db", "/var/lib/talos.db", "mysql://user:hunter2@host/db", "user:hunter2@host/db", "SQLITE://x.db",
	} {
		_, err := storage.Open(t.Context(), dsn, storage.Options{})
		if err == nil || !strings.Contains(err.Error(), "sqlite://") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("open %q: %v", dsn, err)
		}
		if _, err := storage.Canonical(dsn); err == nil {
			t.Errorf("canonical %q: no error", dsn)
		}
	}
	for _, dsn := range []string{"sqlite://", "sqlite://:memory:", "sqlite:///x.db?mode=ro"} {
		if _, err := storage.Open(t.Context(), dsn, storage.Options{}); err == nil {
			t.Errorf("open %q: no error", dsn)
		}
		if _, err := storage.Canonical(dsn); err == nil {
			t.Errorf("canonical %q: no error", dsn)
		}
	}
}

func TestADirectoryThatCannotBeMadeIsUnavailable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := storage.Open(t.Context(), "sqlite://"+file+"/below/talos.db", storage.Options{})
	if err == nil {
		t.Error("no error")
	} else if got := core.ReasonOf(err); got != core.Unavailable {
		t.Errorf("%s: %v", got, err)
	}
}
