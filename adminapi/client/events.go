package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// FeedIDHeader names the feed that a position in a request is of.
const FeedIDHeader = "Talos-Feed-Id"

// CallerKind says how a [Caller] was recognised.
type CallerKind string

// The kinds of caller.
const (
	CallerKey         CallerKind = "key"         // an API key that a gate has admitted: its key id
	CallerCertificate CallerKind = "certificate" // a client certificate: its subject
	CallerHolder      CallerKind = "holder"      // whoever has the key itself: the address
	CallerAddress     CallerKind = "address"     // nobody has authenticated it: the address
	CallerSystem      CallerKind = "system"      // the server itself
)

// Caller is who has made a change.
type Caller struct {
	Kind CallerKind `json:"kind"`
	ID   string     `json:"id,omitempty"`
}

// Position is the number of a change in the feed. The API writes it as a JSON string.
type Position uint64

// MarshalJSON writes the number as a string.
func (p Position) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, strconv.FormatUint(uint64(p), 10)), nil
}

// UnmarshalJSON reads a string or a number.
func (p *Position) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseUint(strings.Trim(string(b), `"`), 10, 64)
	if err != nil {
		return fmt.Errorf("a position must be a number: %w", err)
	}
	*p = Position(v)
	return nil
}

// Event is one change of one key.
type Event struct {
	Position Position         `json:"position"`
	Time     time.Time        `json:"time"`
	Type     string           `json:"type"` // such as IssuedAPIKeyRevoked
	KeyID    string           `json:"key_id"`
	KeyType  string           `json:"key_type"`           // issued or imported
	ActorID  string           `json:"actor_id,omitempty"` // whom the key acts for
	Caller   *Caller          `json:"caller,omitempty"`   // nil: not recorded
	Reason   RevocationReason `json:"reason,omitempty"`   // of a revocation
	Metadata *EventMetadata   `json:"metadata,omitempty"`
}

// EventMetadata is what else is known of an event.
type EventMetadata struct {
	RequestID        string `json:"request_id,omitempty"` // the request's name in the logs
	User             string `json:"user,omitempty"`       // whom the server in front has authenticated
	PredecessorKeyID string `json:"predecessor_key_id,omitempty"`
	SuccessorKeyID   string `json:"successor_key_id,omitempty"`
}

// EventsRequest asks for a part of the changes.
type EventsRequest struct {
	After    uint64        // the position of the last event that is known; 0: from the oldest one that is kept
	FeedID   string        // the feed that After is a position in, as an answer named it; empty: the server's
	Wait     time.Duration // for an event if there is none, up to 30 s
	PageSize int           // 1 to 1000; 0: 100
	Filter   string        // such as `key_id="…" AND type="IssuedAPIKeyRevoked" AND time>="2026-11-01T00:00:00Z"`
}

// EventsResponse is a part of the changes, in their order.
type EventsResponse struct {
	FeedID   string   `json:"feed_id"`
	Position Position `json:"position"` // of the last event that the server has looked at: After of the next request

	// CompleteAge is how long before the answer the server knew that there was no event behind Position. Empty: there
	// are more events.
	CompleteAge string  `json:"complete_age,omitempty"`
	Events      []Event `json:"events"`

	// Reset says that events have been missed: they are not kept any more, or the position is of another feed. What is
	// known from earlier events may be wrong.
	Reset bool `json:"reset,omitempty"`
}

const eventsPath = adminPath + "/events"

func (r *EventsRequest) query() url.Values {
	query := url.Values{}
	if r.After != 0 {
		query.Set("after", strconv.FormatUint(r.After, 10))
	}
	if r.Wait != 0 {
		query.Set("wait", r.Wait.String())
	}
	if r.PageSize != 0 {
		query.Set("page_size", strconv.Itoa(r.PageSize))
	}
	if r.Filter != "" {
		query.Set("filter", r.Filter)
	}
	return query
}

// Events iterates over changes in their order, from the one behind r.After on. It ends after the last one, or if r.Wait
// is not 0, waits for more until ctx ends. It ends with an error, which comes with a zero Event: with [ErrEventsMissed]
// when changes behind a position that the server gave are not kept any more. Each page is a call of its own.
func (c *Client) Events(ctx context.Context, r EventsRequest, opts ...CallOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		next := r
		for {
			page, err := c.EventsPage(ctx, next, opts...)
			switch {
			case err != nil:
			case page.Reset && next.After != 0:
				err = ErrEventsMissed
			case page.CompleteAge == "" && uint64(page.Position) <= next.After:
				err = fmt.Errorf("%w: there are more events, and none is passed", ErrAnswer)
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, event := range page.Events {
				if !yield(event, nil) {
					return
				}
			}
			if r.Wait == 0 && page.CompleteAge != "" {
				return
			}
			next.After, next.FeedID = uint64(page.Position), page.FeedID
		}
	}
}

// ErrEventsMissed says that there were changes which the server does not keep any more, or that it has another feed.
var ErrEventsMissed = errors.New("events have been missed: they are not kept any more, or the server has another feed")

// EventsPage reads a page of changes. With Wait it is a blocking query: the answer comes with the next change. The
// client's timeout counts in addition to Wait.
func (c *Client) EventsPage(ctx context.Context, r EventsRequest, opts ...CallOption) (*EventsResponse, error) {
	waiting := *c
	if waiting.timeout > 0 {
		waiting.timeout += max(r.Wait, 0)
	}
	if r.FeedID != "" {
		opts = append(opts, Header(FeedIDHeader, r.FeedID))
	}
	return call[EventsResponse](ctx, &waiting, http.MethodGet, withQuery(eventsPath, r.query()), nil, opts)
}
