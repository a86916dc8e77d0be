package transfer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

func TestMain(m *testing.M) {
	if from, to := os.Getenv(copyFromEnv), os.Getenv(copyToEnv); from != "" {
		if err := copyUntilKilled(from, to); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(pgtest.Main{M: m})
}

// engines make an empty database each, and return its DSN. That of PostgreSQL skips the test without a server.
var engines = map[string]func(testing.TB) string{
	"sqlite": func(tb testing.TB) string {
		tb.Helper()
		return "sqlite://" + filepath.Join(tb.TempDir(), "talos.db")
	},
	"postgres": pgtest.Database,
}

// eachWay runs a test from each engine to each.
func eachWay(t *testing.T, test func(t *testing.T, from, to string)) {
	t.Helper()
	for from, source := range engines {
		for to, target := range engines {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				test(t, source(t), target(t))
			})
		}
	}
}

// eachTarget runs a test from SQLite to each engine.
func eachTarget(t *testing.T, test func(t *testing.T, from, to string)) {
	t.Helper()
	for to, target := range engines {
		t.Run("to "+to, func(t *testing.T) {
			t.Parallel()
			test(t, engines["sqlite"](t), target(t))
		})
	}
}

// open opens a store that is closed when the test ends.
func open(tb testing.TB, dsn string) core.Store {
	tb.Helper()
	s, err := storage.Open(tb.Context(), dsn, storage.Options{})
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

// copied copies one database to another.
func copied(tb testing.TB, from, to string) *storage.CopyResult {
	tb.Helper()
	r, err := storage.Copy(tb.Context(), from, to, storage.Options{}, storage.CopyOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantReason(t *testing.T, err error, want core.Reason) {
	t.Helper()
	if err == nil || core.ReasonOf(err) != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}
