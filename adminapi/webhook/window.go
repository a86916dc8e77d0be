package webhook

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// maxWindow is how many events have been read and are not delivered, at most.
const maxWindow = 1000

// entry is an event in a [window].
type entry struct {
	feedID string
	event  feed.Event
	upTo   uint64 // the position of the last event behind it that is not delivered, before the next entry
	done   bool
}

// window are the events that have been read and are not delivered yet, in the order of the feed. Events are delivered
// in another order; what is done is everything before the first that is not.
type window struct {
	mu      sync.Mutex
	at      core.FeedReader
	entries []*entry
	periods [len(noticeDays)]*period

	unread atomic.Bool   // the feed could not be read the last time
	moved  chan struct{} // has an element when something was delivered
	room   chan struct{} // has an element when entries were removed
}

func newWindow(at core.FeedReader) *window {
	return &window{
		at: at, periods: newPeriods(at.NoticesUntil), moved: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
}

// signal puts an element into a channel that has none.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add adds an event that is to be delivered.
func (w *window) add(e *entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.upTo = e.event.Position
	w.entries = append(w.entries, e)
}

// pass notes that the events up to a position are not to be delivered. The next save is soon enough for that.
func (w *window) pass(position uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.entries) > 0 {
		w.entries[len(w.entries)-1].upTo = position
		return
	}
	w.at.Position = position
}

// finish notes that an event was delivered.
func (w *window) finish(e *entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.done = true
	n := 0
	for n < len(w.entries) && w.entries[n].done {
		w.at.Position = w.entries[n].upTo
		n++
	}
	if n > 0 {
		clear(w.entries[:n])
		w.entries = w.entries[n:]
		signal(w.moved)
		signal(w.room)
	}
}

// addNotice adds a notice that is to be delivered.
func (w *window) addNotice(p *period, n *notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.pending[n] = struct{}{}
}

// noticesRead notes that the notices of all keys that expire before a moment have been added.
func (w *window) noticesRead(p *period, before time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.read = before
}

// finishNotice notes that a notice was delivered.
func (w *window) finishNotice(p *period, n *notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(p.pending, n)
	signal(w.moved)
	signal(p.room)
}

// awaitNoticeRoom waits until there is room for another notice of a period, and returns for how many. 0: ctx has ended.
func (w *window) awaitNoticeRoom(ctx context.Context, p *period) int {
	return w.await(ctx, p.room, func() int { return maxNotices - len(p.pending) })
}

// done is what is done. All notices that were due before its moment are.
func (w *window) done() core.FeedReader {
	w.mu.Lock()
	defer w.mu.Unlock()
	until := w.periods[0].read.Add(-w.periods[0].ahead)
	for _, p := range w.periods {
		until = earlier(until, p.read.Add(-p.ahead))
		for n := range p.pending {
			until = earlier(until, n.due)
		}
	}
	at := w.at
	if until.After(at.NoticesUntil) {
		at.NoticesUntil = until
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// awaitRoom waits until there is room for another event, and returns for how many. 0: ctx has ended.
func (w *window) awaitRoom(ctx context.Context) int {
	return w.await(ctx, w.room, func() int { return maxWindow - len(w.entries) })
}

// await waits for a channel until there is room, and returns for how many. 0: ctx has ended.
func (w *window) await(ctx context.Context, changed <-chan struct{}, room func() int) int {
	for {
		w.mu.Lock()
		n := room()
		w.mu.Unlock()
		if n > 0 && ctx.Err() == nil {
			return n
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0
		}
	}
}

// oldest is the time of the oldest event or notice that is not delivered; zero: there is none.
func (w *window) oldest() (oldest time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	add := func(at time.Time) {
		if oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	if len(w.entries) > 0 {
		add(w.entries[0].event.Time)
	}
	for _, p := range w.periods {
		for n := range p.pending {
			add(n.due)
		}
	}
	return oldest
}
