package adminapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/feed"
)

// listEvents answers a blocking query of the feed of changes.
func listEvents(s *surface, w http.ResponseWriter, r *http.Request, n Network, _ string) error {
	request, err := eventsRequest(r, "after", "wait", "page_size", "filter")
	if err != nil {
		return err
	}
	edge, err := s.edgeOf(r, n.ID)
	if err != nil {
		return err
	}
	if edge != nil && n.Confirmations != nil {
		request.Looked = func(reset bool) error { return edge.acknowledge(n.Confirmations, request.After, reset) }
	}
	ctx, cancel := s.WhileOpen(r.Context())
	defer cancel()
	result, err := n.Keys.Events(ctx, request)
	if err != nil {
		return err
	}
	if edge != nil && n.Confirmations != nil && len(result.Events) > 0 && request.After != 0 && !result.Reset {
		n.Confirmations.Sent(&edge.Edge, result.Position, result.Events[len(result.Events)-1].Time)
	}
	writeJSON(w, http.StatusOK, eventsResponse(&result))
	return nil
}

// eventsRequest reads the query of a request for events, which may have these parameters and no others: one that is
// misspelled would let through what it should not.
func eventsRequest(r *http.Request, known ...string) (out engine.EventsRequest, err error) {
	out.FeedID = r.Header.Get(client.FeedIDHeader)
	q, err := parseQuery(r)
	if err != nil {
		return out, err
	}
	if err := q.only(known...); err != nil {
		return out, err
	}
	after, err := q.one("after")
	if err != nil {
		return out, err
	}
	if out.After, err = parsePosition("after", after); err != nil {
		return out, err
	}
	wait, err := q.one("wait")
	if err != nil {
		return out, err
	}
	if wait != "" {
		if out.Wait, err = core.ParseDuration(wait); err != nil {
			return out, core.NewError(core.BadRequest, "wait: "+err.Error())
		}
	}
	if out.PageSize, err = q.pageSize(); err != nil {
		return out, err
	}
	out.Filter, err = q.one("filter")
	return out, err
}

// parsePosition reads a position in the feed. Empty is 0.
func parsePosition(name, text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	position, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, core.NewError(core.BadRequest, name+": must be a position such as 42")
	}
	return position, nil
}

func eventsResponse(result *engine.EventsResult) *client.EventsResponse {
	out := &client.EventsResponse{
		FeedID: result.FeedID, Position: client.Position(result.Position), Reset: result.Reset,
		Events: make([]client.Event, len(result.Events)),
	}
	for i := range result.Events {
		out.Events[i] = EventRecord(&result.Events[i])
	}
	if !result.CompleteAt.IsZero() {
		out.CompleteAge = core.FormatSeconds(max(time.Since(result.CompleteAt), 0))
	}
	return out
}

// callerNames are the kinds of caller on the wire. Whoever has no name is not shown.
var callerNames = map[feed.CallerKind]client.CallerKind{
	feed.CallerKey:         client.CallerKey,
	feed.CallerCertificate: client.CallerCertificate,
	feed.CallerHolder:      client.CallerHolder,
	feed.CallerAddress:     client.CallerAddress,
	feed.CallerSystem:      client.CallerSystem,
}

// EventRecord is an event as the API shows it.
func EventRecord(e *feed.Event) client.Event {
	out := client.Event{
		Position: client.Position(e.Position),
		Time:     e.Time.UTC(),
		Type:     engine.EventType(e),
		KeyID:    e.KeyID,
		KeyType:  "issued",
		ActorID:  e.ActorID,
	}
	if e.KeyKind == uint8(core.Imported) {
		out.KeyType = "imported"
	}
	if name := callerNames[e.Caller.Kind]; name != "" {
		out.Caller = &client.Caller{Kind: name, ID: e.Caller.ID}
	}
	metadata := client.EventMetadata{RequestID: e.Caller.RequestID, User: e.Caller.User}
	if e.Kind == feed.EventCreated {
		metadata.PredecessorKeyID = e.Related
	} else {
		metadata.SuccessorKeyID = e.Related
	}
	if e.Kind == feed.EventRevoked || e.Kind == feed.EventRotated && e.Reason != 0 { // 0: it has a grace period
		out.Reason = ReasonName(core.RevocationReason(e.Reason))
	}
	if metadata != (client.EventMetadata{}) {
		out.Metadata = &metadata
	}
	return out
}

const (
	// watchPause is how long a stream of events is silent at most.
	watchPause = 10 * time.Second
	// watchWrite bounds the time that a reader takes for a part of the stream.
	watchWrite = 30 * time.Second
	// maxBehind is how many changes a reader may be behind that had caught up before.
	maxBehind = 1000
)

// watchEvents answers with a stream of server-sent events: one for each change. It ends when the reader is too slow, is
// gone, or the server closes. A reader resumes with the header Last-Event-ID, as browsers do by themselves.
func watchEvents(s *surface, w http.ResponseWriter, r *http.Request, n Network, _ string) error {
	request, err := eventsRequest(r, "after", "filter")
	if err != nil {
		return err
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		if request.After, err = parsePosition("Last-Event-ID", id); err != nil {
			return err
		}
	}
	request.PageSize = core.MaxEvents
	ctx, cancel := s.WhileOpen(r.Context())
	defer cancel()
	result, err := n.Keys.Events(ctx, request) // without a wait: what is wrong with the request is answered at once
	if err != nil {
		return err
	}
	stream := eventStream{w: w, control: http.NewResponseController(w)}
	stream.begin()
	if r.Method == http.MethodHead {
		return nil // there is nothing to wait for
	}
	request.Wait = watchPause
	for caughtUp := false; ; {
		if err := stream.write(&result, request.After > 0); err != nil || ctx.Err() != nil {
			return nil // the reader is gone, and resumes
		}
		caughtUp = caughtUp || !result.CompleteAt.IsZero()
		if caughtUp && n.Keys.Applied() > result.Position+maxBehind {
			return nil
		}
		request.After, request.FeedID = result.Position, result.FeedID
		if result, err = n.Keys.Events(ctx, request); err != nil {
			return nil // the stream has begun: the reader resumes, and gets the error then
		}
	}
}

// eventStream writes server-sent events.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s *eventStream) begin() {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold the events back
	h.Set("X-Content-Type-Options", "nosniff")
	s.w.WriteHeader(http.StatusOK)
}

// write writes events. If there are none, it writes a comment with the position, so that a reader who resumes skips the
// events that its filter leaves out. known says that the reader has a position that may be reset. A reset has no
// position: a reader who resumes before the first event gets the reset again.
func (s *eventStream) write(result *engine.EventsResult, known bool) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(watchWrite)) // where it cannot be set, the server has its own
	if result.Reset && known {
		if err := s.event("", "reset", map[string]string{"feed_id": result.FeedID}); err != nil {
			return err
		}
	}
	for i := range result.Events {
		e := EventRecord(&result.Events[i])
		if err := s.event(fmt.Sprintf("id: %d\n", e.Position), e.Type, &e); err != nil {
			return err
		}
	}
	if len(result.Events) == 0 {
		if err := s.print(fmt.Sprintf(": no change\nid: %d\n\n", result.Position)); err != nil {
			return err
		}
	}
	return s.control.Flush()
}

func (s *eventStream) event(id, name string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return s.print(fmt.Sprintf("%sevent: %s\ndata: %s\n\n", id, name, text))
}

func (s *eventStream) print(text string) error {
	_, err := io.WriteString(s.w, text) //nolint:gosec // it is a stream of events, which no browser shows as HTML
	return err
}

// WhileOpen is a context that also ends when the server begins to close: a request that waits then has its answer at
// once. The caller cancels it.
func (o *Options) WhileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if o.WhenClosing == nil {
		return ctx, cancel
	}
	stop := o.WhenClosing(cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}
