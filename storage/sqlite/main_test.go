package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
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

// database is a file for one test, whose stores can be controlled.
type database struct {
	path string

	mu       sync.Mutex
	controls map[core.Store]*control
}

func newDatabase(t *testing.T) *database {
	t.Helper()
	return &database{path: filepath.Join(t.TempDir(), "talos.db"), controls: make(map[core.Store]*control)}
}

func (d *database) opener() storagetest.Opener {
	return storagetest.Opener{
		Open: func(ctx context.Context) (core.Store, error) { return d.open(ctx) },
		Control: func(s core.Store) storagetest.Control {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.controls[s]
		},
	}
}

func (d *database) open(ctx context.Context) (*Store, error) {
	c := newControl()
	s, err := Open(ctx, d.path, Options{hooks: c.hooks()})
	if err != nil {
		return nil, err
	}
	c.store = s
	d.mu.Lock()
	defer d.mu.Unlock()
	d.controls[s] = c
	return s, nil
}

// control is a [storagetest.Control] by means of the group commit's hooks.
type control struct {
	store *Store
	held  map[storagetest.Point]chan struct{} // has an element when the writer was stopped there

	mu      sync.Mutex
	holds   map[storagetest.Point]chan struct{} // closed by release
	fault   error
	commits int
}

func newControl() *control {
	return &control{
		held: map[storagetest.Point]chan struct{}{
			storagetest.BeforeTaking: make(chan struct{}, 1),
			storagetest.BeforeCommit: make(chan struct{}, 1),
		},
		holds: make(map[storagetest.Point]chan struct{}),
	}
}

func (c *control) hooks() sqlstore.Hooks {
	return sqlstore.Hooks{
		BeforeTake: func() { c.stop(storagetest.BeforeTaking) },
		BeforeCommit: func() error {
			c.stop(storagetest.BeforeCommit)
			c.mu.Lock()
			defer c.mu.Unlock()
			err := c.fault
			c.fault = nil
			return err
		},
		Committed: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.commits++
		},
	}
}

// stop stops the writer while the point is held.
func (c *control) stop(p storagetest.Point) {
	c.mu.Lock()
	release := c.holds[p]
	c.mu.Unlock()
	if release == nil {
		return
	}
	select {
	case c.held[p] <- struct{}{}:
	default:
	}
	<-release
}

func (c *control) Hold(p storagetest.Point) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	hold := make(chan struct{})
	c.holds[p] = hold
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.holds, p)
		close(hold)
	})
}

func (c *control) Held(ctx context.Context, p storagetest.Point) error {
	select {
	case <-c.held[p]:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *control) Waiting() int { return c.store.group.Waiting() }

func (c *control) FailNextCommit(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = err
}

func (c *control) Commits() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.commits
}
