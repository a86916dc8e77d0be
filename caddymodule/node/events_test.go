package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/core"
)

// pruneStore is a store that only removes events.
type pruneStore struct {
	core.Store

	mu      sync.Mutex
	asked   []retention // with what it was called
	removed int
	err     error
}

func (s *pruneStore) PruneEvents(_ context.Context, before time.Time, keep int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, retention{time.Since(before), keep})
	return s.removed, s.err
}

// calls are those so far.
func (s *pruneStore) calls() []retention {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// fail makes all calls fail from now on.
func (s *pruneStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed, s.err = 0, err
}

func TestOldEventsAreRemovedAMinuteAfterTheStartAndThenEachHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, seen := observer.New(zap.DebugLevel)
		store := &pruneStore{removed: 3}
		asked, err := (&Events{Keep: Duration(time.Hour)}).resolve()
		if err != nil {
			t.Fatal(err)
		}
		p := newPruner(t.Context(), asked, store, zap.New(logs))
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		if calls := store.calls(); len(calls) != 0 {
			t.Errorf("before a minute: %v", calls)
		}
		time.Sleep(3*time.Hour + time.Second)
		synctest.Wait()
		if calls := store.calls(); len(calls) != 4 || calls[3] != (retention{time.Hour, 1_000_000}) {
			t.Errorf("in three hours: %v", calls)
		}
		if seen.FilterMessage("removed old events").Len() != 4 {
			t.Errorf("the log has %v", seen.All())
		}
		store.fail(errors.New("the disk is full"))
		time.Sleep(time.Hour)
		synctest.Wait()
		if seen.FilterLevelExact(zap.WarnLevel).Len() != 1 {
			t.Errorf("of the failure the log has %v", seen.All())
		}
		p.close()
		time.Sleep(2 * time.Hour)
		if calls := store.calls(); len(calls) != 5 {
			t.Errorf("after the end: %v", calls)
		}
	})
}
