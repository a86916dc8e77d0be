package webhook

import (
	"context"
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	// lanes is how many deliveries are under way at once. The events of one key are all in one lane.
	lanes = 8
	// pageSize is how many events are read at once.
	pageSize = 100
	// readPause is how long the feed is not read after it could not be.
	readPause = time.Second

	// The wait after a first failure, and the longest one. Each is twice the last, give or take a fifth.
	minDelay = time.Second
	maxDelay = 5 * time.Minute
	// maxRetryAfter is the longest wait that a receiver can ask for.
	maxRetryAfter = time.Hour
)

var laneSeed = maphash.MakeSeed()

// laneOf is the lane of a key's events.
func laneOf(keyID string) int { return int(maphash.String(laneSeed, keyID) % lanes) }

// read reads the feed and hands each event to its lane, until ctx ends.
func (s *Sender) read(ctx context.Context, w *window, queues *[lanes]chan *entry) {
	after := w.done().Position
	for {
		room := w.awaitRoom(ctx)
		if room == 0 {
			return
		}
		applied := s.config.Store.Positions().Applied()
		page, err := s.config.Store.Events(ctx, after, min(room, pageSize))
		w.unread.Store(err != nil)
		if err != nil {
			pause(ctx, readPause) // the store logs that the database fails
			continue
		}
		if len(page.Events) == 0 && page.Begin <= after {
			_ = s.config.Store.Positions().AwaitAfter(ctx, max(after, applied))
			continue
		}
		after = s.take(w, queues, &page, after)
	}
}

// take hands out the events of a page, and returns the position that the next one begins after.
func (s *Sender) take(w *window, queues *[lanes]chan *entry, page *feed.Page, after uint64) uint64 {
	if page.Begin > after && (len(page.Events) == 0 || page.Events[0].Position > after+1) {
		s.noteDropped(page, page.Begin-after)
		after = page.Begin
		w.pass(after)
	}
	for i := range page.Events {
		e := page.Events[i]
		after = e.Position
		switch {
		case e.Kind == feed.EventRestored:
			s.config.Logger.Warn("the database was restored from a backup: of the changes after the backup was made, " +
				"a webhook gets none that had not been delivered before")
			w.pass(after)
		case !s.networks[e.Network] || !s.selects(engine.EventType(&e)):
			w.pass(after)
		default:
			next := &entry{feedID: page.FeedID, event: e}
			w.add(next)
			queues[laneOf(e.KeyID)] <- next
		}
	}
	return after
}

// maxDropped is the highest number of events that can have been dropped. A larger one is a jump in the positions.
const maxDropped = 1 << 30

// noteDropped logs and counts events that the feed does not keep any more. Their number is not known if the database
// was restored among them: positions jump there.
func (s *Sender) noteDropped(page *feed.Page, n uint64) {
	const message = "events were not delivered to a webhook: the feed does not keep them any more; keep events " +
		"longer, or mend the receiver sooner"
	switch {
	case len(page.Events) > 0 && page.Events[0].Kind == feed.EventRestored: // which is logged
	case n > maxDropped:
		s.config.Logger.Warn(message)
	default:
		s.config.Logger.Warn(message, zap.Uint64("events", n))
		s.config.Observe(ResultDropped, int(n))
	}
}

// selects reports whether a type of event is delivered.
func (s *Sender) selects(name string) bool {
	return len(s.config.Types) == 0 || slices.Contains(s.config.Types, name)
}

// deliverEvents delivers the events of a lane, one after the other, until ctx ends.
func (s *Sender) deliverEvents(ctx context.Context, w *window, queue <-chan *entry) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-queue:
			m, err := ofEvent(e.feedID, &e.event)
			if err != nil {
				s.config.Logger.Error("an event cannot be delivered to a webhook", zap.Error(err))
			} else if !s.deliver(ctx, m, s.endpoint.send, func() bool { return s.keeps(ctx, e.event.Position) }) {
				return
			}
			w.finish(e)
		}
	}
}

// keeps reports whether the feed still has an event, as far as is known.
func (s *Sender) keeps(ctx context.Context, position uint64) bool {
	page, err := s.config.Store.Events(ctx, position-1, 1)
	return err != nil || len(page.Events) == 1 && page.Events[0].Position == position
}

// deliver sends a message until it is accepted, or not current any more. It returns false if ctx has ended before.
func (s *Sender) deliver(
	ctx context.Context, m *message, send func(context.Context, *message) Outcome, current func() bool,
) bool {
	for delay := minDelay; ; delay = min(2*delay, maxDelay) {
		o := send(ctx, m)
		if o.Result != ResultOK && ctx.Err() != nil {
			return false
		}
		s.config.Observe(o.Result, 1)
		if o.Result == ResultOK {
			s.watch.Worked()
			s.gone.Store(false)
			return true
		}
		s.watch.Failed(o.Err)
		if o.Status == http.StatusGone {
			delay = maxDelay
			if !s.gone.Swap(true) {
				s.config.Logger.Error("the receiver of a webhook accepts no more deliveries; remove the webhook",
					zap.Error(o.Err))
			}
		}
		if !pause(ctx, max(jitter(delay), min(o.retryAfter, maxRetryAfter))) {
			return false
		}
		if !current() {
			s.config.Observe(ResultDropped, 1)
			s.config.Logger.Warn("a message was not delivered to a webhook: the feed does not keep its event any "+
				"more, or its key has expired or changed; see why the receiver did not accept it",
				zap.String("id", m.id), zap.Error(o.Err))
			return true
		}
	}
}

// jitter is a time up to a fifth shorter or longer, so that deliveries that failed together are not repeated together.
func jitter(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5) //nolint:gosec // nothing secret depends on it
}

// pause waits, and returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
