package postgres

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/talos-edge/talos-edge/core"
)

// load creates keys through several stores at once and revokes every other one, and notes what was acknowledged.
type load struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu           sync.Mutex
	acknowledged map[string]core.Status
	answers      []int // how many changes each store has acknowledged
}

// loadOn starts a load, which ends with the test at the latest. A change may fail because the database is not there,
// and for no other reason.
func loadOn(t *testing.T, stores ...*Store) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop, acknowledged: make(map[string]core.Status), answers: make([]int, len(stores))}
	for i, s := range stores {
		for g := range 4 {
			l.done.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					l.change(ctx, t, s, i, fmt.Sprintf("%d-%d-%d", i, g, n), n%2 == 1)
				}
			})
		}
	}
	t.Cleanup(func() { l.end() })
	return l
}

// change creates a key and may revoke it.
func (l *load) change(ctx context.Context, t *testing.T, s *Store, store int, id string, revokes bool) {
	t.Helper()
	_, _, err := s.Create(context.WithoutCancel(ctx), testKey(id))
	l.note(t, store, id, core.StatusActive, err)
	if err == nil && revokes {
		l.note(t, store, id, core.StatusRevoked, revoke(context.WithoutCancel(ctx), s, id))
	}
}

func (l *load) note(t *testing.T, store int, id string, status core.Status, err error) {
	t.Helper()
	if err != nil {
		if r := core.ReasonOf(err); r != core.Unavailable && r != core.DeadlineExceeded {
			t.Errorf("change of %s: %v", id, err)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acknowledged[id] = status
	l.answers[store]++
}

// goesOn waits until each store has acknowledged some more changes.
func (l *load) goesOn(t *testing.T) {
	t.Helper()
	count := func(store int) int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.answers[store]
	}
	for i := range l.answers {
		before := count(i)
		eventually(t, fmt.Sprintf("store %d makes changes", i), func() bool { return count(i) >= before+50 })
	}
}

// end ends the load and returns what was acknowledged.
func (l *load) end() map[string]core.Status {
	l.stop()
	l.done.Wait()
	return maps.Clone(l.acknowledged)
}

// wantKept checks that a database has what was acknowledged, and that stores which were open all the time know of it.
func wantKept(t *testing.T, dsn string, acknowledged map[string]core.Status, stores ...*Store) {
	t.Helper()
	wantSound(t, dsn)
	wantApplied(t, dsn, acknowledged, stores...)
}

// wantApplied checks that acknowledged changes are in a database and in the memory of stores.
func wantApplied(t *testing.T, dsn string, acknowledged map[string]core.Status, stores ...*Store) {
	t.Helper()
	fresh := openAt(t, dsn, Options{})
	last := fresh.positions.Applied()
	for i, s := range stores {
		eventually(t, fmt.Sprintf("store %d has applied all changes", i), func() bool {
			return s.positions.Applied() == last
		})
	}
	for id, status := range acknowledged {
		k, err := fresh.Get(t.Context(), core.NetworkID{}, id)
		if err != nil || k.Status < status {
			t.Errorf("key %s was acknowledged with status %d, and is %d: %v", id, status, k.Status, err)
		}
		for i, s := range stores {
			if slotOf(s, id) == 0 {
				t.Errorf("store %d has passed over the changes of key %s", i, id)
			}
		}
	}
}
