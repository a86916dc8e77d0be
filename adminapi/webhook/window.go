package webhook

import (
	"context"
	"sync"
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
	notices time.Time // since when notices are being delivered; zero: there are none

	moved chan struct{} // has an element when at has changed
	room  chan struct{} // has an element when entries were removed
}

func newWindow(at core.FeedReader) *window {
	return &window{at: at, moved: make(chan struct{}, 1), room: make(chan struct{}, 1)}
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

// pass notes that the events up to a position are not to be delivered.
func (w *window) pass(position uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.entries) > 0 {
		w.entries[len(w.entries)-1].upTo = position
		return
	}
	w.at.Position = position
	signal(w.moved)
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

// beginNotices notes that there are notices to deliver.
func (w *window) beginNotices(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.notices.IsZero() {
		w.notices = now
	}
}

// finishNotices notes that the notices that were due at a moment were delivered.
func (w *window) finishNotices(until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notices, w.at.NoticesUntil = time.Time{}, until
	signal(w.moved)
}

// done is what is done.
func (w *window) done() core.FeedReader {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

// awaitRoom waits until there is room for another event, and returns for how many. 0: ctx has ended.
func (w *window) awaitRoom(ctx context.Context) int {
	for {
		w.mu.Lock()
		room := maxWindow - len(w.entries)
		w.mu.Unlock()
		if room > 0 && ctx.Err() == nil {
			return room
		}
		select {
		case <-w.room:
		case <-ctx.Done():
			return 0
		}
	}
}

// oldest is the time of the oldest event or notice that is not delivered; zero: there is none.
func (w *window) oldest() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	oldest := w.notices
	if len(w.entries) > 0 {
		if at := w.entries[0].event.Time; oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	return oldest
}
