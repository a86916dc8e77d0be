package postgres

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/pgtest"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
	"github.com/talos-edge/talos-edge/storage/storagetest"
)

func TestMain(m *testing.M) {
	if dsn := os.Getenv(killWriterEnv); dsn != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dsn))
		os.Exit(1)
	}
	goleak.VerifyTestMain(pgtest.Main{M: m})
}

func TestStore(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T) storagetest.Opener {
		t.Helper()
		return opener(pgtest.Database(t))
	})
}

// opener opens stores on the database of a DSN.
func opener(dsn string) storagetest.Opener {
	return storagetest.HookedOpener(func(ctx context.Context, hooks sqlstore.Hooks) (core.Store, func() int, error) {
		s, err := Open(ctx, location(dsn), Options{hooks: hooks})
		if err != nil {
			return nil, nil, err
		}
		return s, s.group.Waiting, nil
	})
}

// location is a DSN without its scheme.
func location(dsn string) string { return strings.TrimPrefix(dsn, "postgres://") }
