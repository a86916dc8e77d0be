package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
	"github.com/talos-edge/talos-edge/storage/storagetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(killWriterEnv); path != "" {
		writeUntilKilled(path)
		return
	}
	if path := os.Getenv(verifierEnv); path != "" {
		if err := verifyUntilClosed(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func TestStore(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T) storagetest.Opener {
		t.Helper()
		return newDatabase(t).opener()
	})
}

// database is a file for one test.
type database struct{ path string }

func newDatabase(t *testing.T) *database {
	t.Helper()
	return &database{filepath.Join(t.TempDir(), "talos.db")}
}

func (d *database) opener() storagetest.Opener {
	return storagetest.HookedOpener(func(ctx context.Context, hooks sqlstore.Hooks) (core.Store, func() int, error) {
		s, err := Open(ctx, d.path, Options{hooks: hooks})
		if err != nil {
			return nil, nil, err
		}
		return s, s.group.Waiting, nil
	})
}
