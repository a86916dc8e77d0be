package node

import (
	"context"
	"errors"
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
	calls   []retention // with what was asked for
	removed int
	err     error
}

func (s *pruneStore) PruneEvents(_ context.Context, before time.Time, keep int) (int, error) {
	s.calls = append(s.calls, retention{time.Since(before), keep})
	return s.removed, s.err
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
		if synctest.Wait(); len(store.calls) != 0 {
			t.Errorf("before a minute: %v", store.calls)
		}
		time.Sleep(3*time.Hour + time.Second)
		synctest.Wait()
		if len(store.calls) != 4 || store.calls[3] != (retention{time.Hour, 1_000_000}) {
			t.Errorf("in three hours: %v", store.calls)
		}
		if seen.FilterMessage("removed old events").Len() != 4 {
			t.Errorf("the log has %v", seen.All())
		}
		store.removed, store.err = 0, errors.New("the disk is full")
		time.Sleep(time.Hour)
		synctest.Wait()
		if seen.FilterLevelExact(zap.WarnLevel).Len() != 1 {
			t.Errorf("of the failure the log has %v", seen.All())
		}
		p.close()
		time.Sleep(2 * time.Hour)
		if len(store.calls) != 5 {
			t.Errorf("after the end: %v", store.calls)
		}
	})
}
