package engine

import (
	"context"
	"math"
	"sort"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// maxTailAge is how old a page may be that one reader takes over from another.
const maxTailAge = 10 * time.Millisecond

// eventTail caches the newest page of the feed. A change wakes all waiting readers, who then need the same page: it is
// read once for all of them. The zero value is ready.
type eventTail struct {
	mu      sync.Mutex // held while a page is read, so that readers of the same page wait for it
	after   uint64
	applied uint64 // changes up to here had been applied before it was read
	began   time.Time
	ended   time.Time
	page    feed.Page
	err     error
}

// read returns a page as [core.Store.Events] does, and when it began to read it. Its events are shared.
func (t *eventTail) read(ctx context.Context, s core.Store, after uint64, limit int) (feed.Page, time.Time, error) {
	applied := s.Positions().Applied()
	if after < math.MaxUint64-core.MaxEvents && after+uint64(limit) < applied { //nolint:gosec // limit is positive
		began := time.Now() // far from the end readers do not meet
		page, err := s.Events(ctx, after, limit)
		return page, began, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.holds(after, applied) {
		t.after, t.applied, t.began = after, applied, time.Now()
		t.page, t.err = s.Events(ctx, after, core.MaxEvents)
		t.ended = time.Now()
	}
	page := t.page
	first := sort.Search(len(page.Events), func(i int) bool { return page.Events[i].Position > after })
	page.Events = page.Events[first:min(first+limit, len(page.Events))]
	return page, t.began, t.err
}

// holds reports whether the last page also serves a reader who is at a position and knows of changes up to applied. An
// error serves all readers.
func (t *eventTail) holds(after, applied uint64) bool {
	return time.Since(t.ended) < maxTailAge && (t.err != nil ||
		t.after <= after && t.applied >= applied && len(t.page.Events) < core.MaxEvents)
}
