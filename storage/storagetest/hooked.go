package storagetest

import (
	"context"
	"sync"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// HookedOpener is an [Opener] of an engine with a group commit. open opens a store with hooks, and returns how many
// changes wait in it.
func HookedOpener(
	open func(ctx context.Context, hooks sqlstore.Hooks) (s core.Store, waiting func() int, err error),
) Opener {
	var controls sync.Map // of a core.Store its *Hooked
	return Opener{
		Open: func(ctx context.Context) (core.Store, error) {
			c := newHooked()
			s, waiting, err := open(ctx, c.hooks())
			if err != nil {
				return nil, err
			}
			c.waiting = waiting
			controls.Store(s, c)
			return s, nil
		},
		Control: func(s core.Store) Control {
			c, _ := controls.Load(s)
			return c.(*hooked) //nolint:errcheck,forcetypeassert // Open has stored it
		},
	}
}

// hooked is the [Control] of a store that commits by a [sqlstore.GroupCommit], by means of its hooks.
type hooked struct {
	waiting func() int
	held    map[Point]chan struct{} // has an element when the writer was stopped there

	mu      sync.Mutex
	holds   map[Point]chan struct{} // closed by release
	fault   error
	commits int
}

func newHooked() *hooked {
	return &hooked{
		held: map[Point]chan struct{}{
			BeforeTaking: make(chan struct{}, 1),
			BeforeCommit: make(chan struct{}, 1),
		},
		holds: make(map[Point]chan struct{}),
	}
}

// hooks are what the store is opened with.
func (c *hooked) hooks() sqlstore.Hooks {
	return sqlstore.Hooks{
		BeforeTake: func() { c.stop(BeforeTaking) },
		BeforeCommit: func() error {
			c.stop(BeforeCommit)
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
func (c *hooked) stop(p Point) {
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

// Hold implements [Control].
func (c *hooked) Hold(p Point) func() {
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

// Held implements [Control].
func (c *hooked) Held(ctx context.Context, p Point) error {
	select {
	case <-c.held[p]:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Waiting implements [Control].
func (c *hooked) Waiting() int { return c.waiting() }

// FailNextCommit implements [Control].
func (c *hooked) FailNextCommit(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = err
}

// Commits implements [Control].
func (c *hooked) Commits() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.commits
}
