package node

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/usage"
)

// useLog is where a useWriter writes: it notes what was written last of each key, and how often.
type useLog struct {
	mu     sync.Mutex
	last   map[string]time.Time
	writes map[string]int
	err    error
	block  bool // until the context ends
}

func newUseLog() *useLog { return &useLog{last: map[string]time.Time{}, writes: map[string]int{}} }

func (l *useLog) write(ctx context.Context, uses []core.Use) error {
	l.mu.Lock()
	block := l.block
	l.mu.Unlock()
	if block {
		<-ctx.Done()
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	for _, u := range uses {
		l.last[u.KeyID] = u.Time
		l.writes[u.KeyID]++
	}
	return nil
}

func (l *useLog) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// wants compares what was written of a key.
func (l *useLog) wants(t *testing.T, when, keyID string, writes int, last time.Time) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writes[keyID] != writes || !l.last[keyID].Equal(last) {
		t.Errorf("%s: %s has %d writes, the last with %v; want %d with %v", when, keyID, l.writes[keyID], l.last[keyID],
			writes, last)
	}
}

func TestUses_AreWrittenEachHalfMinuteAndWhenTheNodeCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := newUseLog(), new(usage.Recorder)
		w := newUseWriter(t.Context(), r, l.write, zap.NewNop())
		var last time.Time
		for range 29 {
			last = time.Now()
			r.Record(core.Use{KeyID: "a", Time: last})
			time.Sleep(time.Second)
		}
		l.wants(t, "before", "a", 0, time.Time{})
		time.Sleep(time.Second)
		l.wants(t, "after half a minute, and so before a minute is over", "a", 1, last)
		time.Sleep(time.Hour)
		l.wants(t, "without a use", "a", 1, last)
		last = time.Now()
		r.Record(core.Use{KeyID: "a", Time: last})
		w.close()
		l.wants(t, "at the end", "a", 2, last)
	})
}

func TestUses_ThatCannotBeWrittenAreWrittenLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := newUseLog(), new(usage.Recorder)
		w := newUseWriter(t.Context(), r, l.write, zap.NewNop())
		defer w.close()
		l.set(func() { l.err = errors.New("the disk is full") })
		first := time.Now()
		r.Record(core.Use{KeyID: "a", Time: first})
		r.Record(core.Use{KeyID: "b", Time: first})
		time.Sleep(useInterval)
		synctest.Wait()
		second := time.Now()
		r.Record(core.Use{KeyID: "b", Time: second})
		l.set(func() { l.err = nil })
		time.Sleep(useInterval)
		l.wants(t, "one that failed", "a", 1, first)
		l.wants(t, "one that failed, and was used again", "b", 1, second)
	})
}

func TestUses_AreRecordedWhileTheStoreBlocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := newUseLog(), new(usage.Recorder)
		w := newUseWriter(t.Context(), r, l.write, zap.NewNop())
		l.set(func() { l.block = true })
		r.Record(core.Use{KeyID: "a", Time: time.Now()})
		time.Sleep(useInterval)
		synctest.Wait() // it blocks
		began := time.Now()
		for i := range 1000 {
			r.Record(core.Use{KeyID: strconv.Itoa(i), Time: began})
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the uses waited for %v", took)
		}
		l.set(func() { l.block = false })
		w.close()
		l.wants(t, "at the end", "a", 1, began.Add(-useInterval))
		l.wants(t, "at the end", "999", 1, began)
	})
}

func TestUses_DoNotKeepANodeFromClosing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := newUseLog(), new(usage.Recorder)
		w := newUseWriter(t.Context(), r, l.write, zap.NewNop())
		l.set(func() { l.block = true })
		r.Record(core.Use{KeyID: "a", Time: time.Now()})
		began := time.Now()
		w.close()
		if took := time.Since(began); took > lastUsesTimeout {
			t.Errorf("it took %v", took)
		}
	})
}
