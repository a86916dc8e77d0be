package engine

import (
	"context"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	// DefaultEventsSize is how many events a page has unless more or fewer are asked for, up to core.MaxEvents.
	DefaultEventsSize = 100
	// MaxEventsWait is how long a reader may wait for the next event.
	MaxEventsWait = 30 * time.Second
	// maxLooked is how many events one request looks at. A filter may let none of them through.
	maxLooked = 20 * core.MaxEvents
)

// EventsRequest asks for a part of the network's changes.
type EventsRequest struct {
	After    uint64        // the position of the last event that the reader has looked at; 0: it begins
	FeedID   string        // the feed that After is a position in; empty: this one
	Wait     time.Duration // for an event, up to MaxEventsWait; 0: not at all
	PageSize int           // 0: DefaultEventsSize; more than core.MaxEvents: that many
	Filter   string        // as ParseEventFilter reads it

	// Looked is called, if it is not nil, before the request waits: After is a position in this feed or, with reset, is
	// not, see [EventsResult]. An error of it is that of the request.
	Looked func(reset bool) error
}

// EventsResult is a part of the network's changes.
type EventsResult struct {
	FeedID   string
	Events   []feed.Event
	Position uint64 // of the last event that was looked at

	// CompleteAt is a moment at which there was no event behind Position. Zero: there are more events.
	CompleteAt time.Time

	// Reset says that what the reader knows may be wrong: its position is in another feed, or beyond the end of this
	// one; events behind it are not kept any more; or, without FeedID, the database was restored behind it. The events
	// then begin with the oldest one that is kept behind the position in this feed, and the reader goes on from
	// Position.
	Reset bool
}

// Events returns the network's changes behind a position, in their order. If there is none that the filter lets
// through, it waits for one, until the time is over or ctx ends; neither is an error, and what there is by then is the
// result. A wait, a page size or a filter that is not one is [core.BadRequest].
func (e *Engine) Events(ctx context.Context, r EventsRequest) (EventsResult, error) {
	filter, err := ParseEventFilter(r.Filter)
	switch {
	case err != nil:
		return EventsResult{}, err
	case r.PageSize < 0:
		return EventsResult{}, badRequest("page_size: must not be negative")
	case r.Wait < 0 || r.Wait > MaxEventsWait:
		return EventsResult{}, badRequest("wait: must lie between 0s and %s", core.FormatSeconds(MaxEventsWait))
	case r.PageSize == 0:
		r.PageSize = DefaultEventsSize
	}
	r.PageSize = min(r.PageSize, core.MaxEvents)
	waiting, cancel := context.WithTimeout(ctx, r.Wait)
	defer cancel()
	for {
		over, applied := waiting.Err() != nil, e.store.Positions().Applied()
		result, err := e.events(ctx, &r, &filter)
		if err == nil && r.Looked != nil {
			err = r.Looked(result.Reset)
			r.Looked = nil
		}
		if over || err != nil || result.Reset || len(result.Events) > 0 || result.CompleteAt.IsZero() {
			return result, err
		}
		// What had been applied has been looked at. When the wait is over, the feed is read once more: the result is
		// that of the end.
		r.After = result.Position
		_ = e.store.Positions().AwaitAfter(waiting, max(r.After, applied))
	}
}

// events reads what there is. If ctx ends, it reads no further page.
func (e *Engine) events(ctx context.Context, r *EventsRequest, filter *EventFilter) (result EventsResult, err error) {
	result.Position = r.After
	limit := min(r.PageSize+1, core.MaxEvents) // one more reports whether there are more
	for looked := 0; looked == 0 || looked < maxLooked && ctx.Err() == nil; limit = min(2*limit, core.MaxEvents) {
		page, began, err := e.shared.tail.read(context.WithoutCancel(ctx), e.store, result.Position, limit)
		if err != nil {
			return EventsResult{}, err
		}
		result.FeedID = page.FeedID
		switch {
		case looked > 0 && result.Position < page.Begin:
			return result, nil // the next events have been removed meanwhile: the next request gets a reset
		case looked > 0 || result.Reset:
		case r.FeedID != "" && r.FeedID != page.FeedID:
			result.Reset, result.Position = true, page.Begin
			continue
		case result.Position > page.Last:
			result.Reset, result.Position, result.CompleteAt = true, page.Last, began
			return result, nil
		case result.Position < page.Begin:
			result.Reset = true
		}
		for i := range page.Events {
			event := &page.Events[i]
			if len(result.Events) == r.PageSize {
				return result, nil
			}
			switch {
			case event.Kind == feed.EventRestored:
				// Without the feed's name, the position may be one of the feed before.
				result.Reset = result.Reset || r.FeedID == "" && r.After != 0
			case event.Network == e.network && filter.matches(event):
				result.Events = append(result.Events, *event)
			}
			result.Position = event.Position
		}
		if looked += len(page.Events); len(page.Events) < limit {
			result.CompleteAt = began
			return result, nil
		}
	}
	return result, nil
}
