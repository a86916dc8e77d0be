package usage_test

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/usage"
)

var at = time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)

// drained is what a recorder holds, by key.
func drained(t *testing.T, r *usage.Recorder) map[string]time.Time {
	t.Helper()
	uses := map[string]time.Time{}
	for _, u := range r.Drain() {
		name := u.Network.String() + "/" + u.KeyID
		if _, twice := uses[name]; twice {
			t.Errorf("%s is in it twice", name)
		}
		uses[name] = u.Time
	}
	return uses
}

func TestTheLatestUseOfEachKeyIsKeptUntilItIsDrained(t *testing.T) {
	t.Parallel()
	var r usage.Recorder
	other := uuid.New()
	for _, u := range []core.Use{
		{KeyID: "a", Time: at},
		{KeyID: "a", Time: at.Add(time.Hour)},
		{KeyID: "a", Time: at.Add(time.Minute)},
		{KeyID: "b", Time: at},
		{Network: other, KeyID: "a", Time: at},
	} {
		r.Record(u)
	}
	uses := drained(t, &r)
	if len(uses) != 3 || !uses[uuid.Nil.String()+"/a"].Equal(at.Add(time.Hour)) ||
		!uses[other.String()+"/a"].Equal(at) {
		t.Errorf("got %v", uses)
	}
	if uses := drained(t, &r); len(uses) != 0 {
		t.Errorf("what was drained is there again: %v", uses)
	}
	r.Record(core.Use{KeyID: "a", Time: at}) // as whoever could not write it does
	if uses := drained(t, &r); len(uses) != 1 {
		t.Errorf("got %v", uses)
	}
}

// The ids are parts of larger texts, as that of a verdict is. No other test runs meanwhile: it measures the memory.
func TestTheTextAroundAKeysIDDoesNotStayInMemory(t *testing.T) {
	const size, keys, limit = 1 << 20, 64, 16 << 20
	var r usage.Recorder
	for i := range keys {
		for seconds := range 2 { // a first use, and a later one
			text := fmt.Sprintf("%09d%s", i, strings.Repeat("x", size))
			r.Record(core.Use{KeyID: text[:9], Time: at.Add(time.Duration(seconds) * time.Second)})
		}
	}
	runtime.GC()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	if after.HeapAlloc > limit {
		t.Errorf("%d bytes are in use", after.HeapAlloc)
	}
	if len(r.Drain()) != keys {
		t.Error("a use is missing")
	}
}

func TestNoMoreKeysThanTheBoundAreNoted(t *testing.T) {
	t.Parallel()
	var r usage.Recorder
	for i := range usage.MaxKeys + 10 {
		r.Record(core.Use{KeyID: strconv.Itoa(i), Time: at})
	}
	r.Record(core.Use{KeyID: "0", Time: at.Add(time.Hour)})
	uses := drained(t, &r)
	if len(uses) != usage.MaxKeys {
		t.Errorf("%d keys are noted, want %d", len(uses), usage.MaxKeys)
	}
	if !uses[uuid.Nil.String()+"/0"].Equal(at.Add(time.Hour)) {
		t.Error("a later use of a key that is noted was dropped")
	}
	r.Record(core.Use{KeyID: "new", Time: at})
	if len(drained(t, &r)) != 1 {
		t.Error("a drained recorder has no room")
	}
}

func TestUsesAreRecordedAndDrainedAtOnce(t *testing.T) {
	t.Parallel()
	var r usage.Recorder
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 1000 {
				r.Record(core.Use{KeyID: strconv.Itoa(1000*i + j), Time: at})
			}
		})
	}
	found := 0
	for range 100 {
		found += len(r.Drain())
	}
	all.Wait()
	if found += len(r.Drain()); found != 8000 {
		t.Errorf("%d uses were drained, want 8000", found)
	}
}
