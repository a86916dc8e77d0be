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

// eventTail is the newest page of the feed. A change wakes all who wait for it, and they all want the page behind about
// the same position: it is read once for all of them. The zero value is ready.
type eventTail struct {
	mu      sync.Mutex // held while it is read: who wants the same waits for it
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

// holds tells whether the page that was read last is also what a reader behind a position gets, who knows of changes up
// to applied. That it cannot be read at the moment holds for all.
func (t *eventTail) holds(after, applied uint64) bool {
	return time.Since(t.ended) < maxTailAge && (t.err != nil ||
		t.after <= after && t.applied >= applied && len(t.page.Events) < core.MaxEvents)
}
