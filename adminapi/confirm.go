package adminapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/confirm"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	// MaxConfirmWait is how long the answer to a change may wait for the edges.
	MaxConfirmWait = 30 * time.Second
	// maxNamed is how many edges are named that have not confirmed a change.
	maxNamed = 10
	// maxCatchUp is how long a verification waits until this node has applied all changes up to its position.
	maxCatchUp = 2 * time.Second
)

// readingEdge is an edge that asks for events.
type readingEdge struct {
	feed.Edge

	leaves bool
}

// edgeOf reads who asks for events of a network; nil is not an edge.
func (s *surface) edgeOf(r *http.Request, network core.NetworkID) (*readingEdge, error) {
	h := r.Header
	e := &readingEdge{
		Edge: feed.Edge{
			ID: h.Get(client.EdgeIDHeader), Instance: h.Get(client.EdgeInstanceHeader),
			Via: h.Get(client.EdgeViaHeader), Network: network,
		},
		leaves: h.Get(client.EdgeLeavesHeader) == "1",
	}
	if e.ID == "" {
		return nil, nil //nolint:nilnil // no edge asks
	}
	for _, name := range []string{client.EdgeIDHeader, client.EdgeInstanceHeader, client.EdgeViaHeader} {
		if v := h.Get(name); v != "" && !client.ValidEdgeID(v) {
			return nil, core.NewError(core.BadRequest, name+": must have 1 to "+strconv.Itoa(client.MaxEdgeID)+
				" printable characters and no comma")
		}
	}
	if addr := s.ClientAddr(r); addr.IsValid() {
		e.Address = addr.String()
	}
	e.Version = versionIn(h.Get("User-Agent"))
	return e, nil
}

// versionIn is the version that a client of this build names in its User-Agent.
func versionIn(agent string) string {
	const longest = 64
	version, ours := strings.CutPrefix(agent, "talos/")
	if !ours || len(version) > longest || !client.ValidEdgeID(version) {
		return ""
	}
	return version
}

// acknowledge notes the position that an edge has applied. A reset says that it is a position in no feed of this node.
func (e *readingEdge) acknowledge(c *confirm.Confirmations, position uint64, reset bool) error {
	if e.leaves {
		c.Leave(&e.Edge)
		return nil
	}
	if e.Position = position; reset {
		e.Position = 0
	}
	return c.Acknowledge(e.Edge)
}

// listEdges answers with all readers of the feed that acknowledge what they have applied.
func listEdges(s *surface, w http.ResponseWriter, r *http.Request, n Network, _ string) error {
	if err := s.noParameters(r); err != nil {
		return err
	}
	position := n.Keys.Applied()
	out := client.EdgesResponse{Edges: []client.EdgeState{}, Position: client.Position(position)}
	if n.Confirmations != nil {
		all, err := n.Confirmations.List(r.Context(), n.ID)
		if err != nil {
			return err
		}
		now := time.Now()
		for i := range all {
			out.Edges = append(out.Edges, edgeState(&all[i], position, now))
		}
	}
	writeJSON(w, http.StatusOK, &out)
	return nil
}

// noParameters refuses a query: one that is misspelled would seem to have been followed.
func (*surface) noParameters(r *http.Request) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	for name := range q {
		return core.NewError(core.BadRequest, strconv.Quote(name)+": this call takes no parameters")
	}
	return nil
}

func edgeState(e *feed.Edge, position uint64, now time.Time) client.EdgeState {
	out := client.EdgeState{
		EdgeID: e.ID, Address: e.Address, Version: e.Version, Position: client.Position(e.Position),
		LastSeenTime: e.Seen.UTC(), Via: e.Via, Gone: now.Sub(e.Seen) >= confirm.LiveFor,
	}
	if e.Position < position {
		out.Lag = client.Int64(position - e.Position) //nolint:gosec // positions are below 2^63
	}
	return out
}

// confirmWriter writes the response to a change that is waited for. Before its header is written, which is after the
// change, it waits until the edges have applied the change.
type confirmWriter struct {
	http.ResponseWriter
	network *Network
	wait    context.Context //nolint:containedctx // ends the wait
	written bool
}

// waitFor makes the writer of a change's response. Other processes on the database are notified before the change, so
// that they confirm it at once. The caller calls done at the end.
func (s *surface) waitFor(
	w http.ResponseWriter, r *http.Request, n *Network,
) (_ http.ResponseWriter, done context.CancelFunc, err error) {
	done = func() {}
	q, err := parseQuery(r)
	if err != nil {
		return w, done, err
	}
	text, err := q.one("wait")
	if err != nil || text == "" {
		return w, done, err
	}
	wait, err := core.ParseDuration(text)
	if err != nil || wait < 0 || wait > MaxConfirmWait {
		return w, done, core.NewError(core.BadRequest,
			"wait: must be a duration of at most "+core.FormatSeconds(MaxConfirmWait))
	}
	if n.Confirmations == nil {
		return w, done, nil
	}
	if err := n.Confirmations.Announce(r.Context(), time.Now().Add(wait)); err != nil {
		return w, done, err
	}
	open, closed := s.WhileOpen(r.Context())
	waiting, cancel := context.WithTimeout(open, wait)
	return &confirmWriter{ResponseWriter: w, network: n, wait: waiting}, func() { cancel(); closed() }, nil
}

// WriteHeader waits, and begins the response.
func (c *confirmWriter) WriteHeader(status int) {
	if !c.written && status < http.StatusMultipleChoices {
		n := c.network
		setConfirmed(c.Header(), n.Confirmations.Await(c.wait, n.ID, n.Keys.Applied()))
	}
	c.written = true
	c.ResponseWriter.WriteHeader(status)
}

// Write begins the response if WriteHeader has not.
func (c *confirmWriter) Write(b []byte) (int, error) {
	if !c.written {
		c.WriteHeader(http.StatusOK)
	}
	return c.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (c *confirmWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func setConfirmed(h http.Header, result confirm.Result) {
	h.Set(client.ConfirmedHeader, strconv.Itoa(result.Confirmed))
	h.Set(client.UnconfirmedHeader, strconv.Itoa(len(result.Unconfirmed)))
	if n := min(len(result.Unconfirmed), maxNamed); n > 0 {
		h.Set(client.UnconfirmedEdgesHeader, strings.Join(result.Unconfirmed[:n], ", "))
	}
}

// catchUp waits until this node has applied the changes that the answer to a verification must not be older than.
func (n *Network) catchUp(r *http.Request) error {
	text := r.Header.Get(client.MinPositionHeader)
	if text == "" {
		return nil
	}
	position, err := parsePosition(client.MinPositionHeader, text)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), maxCatchUp)
	defer cancel()
	if n.AwaitPosition == nil {
		return core.NewError(core.Unavailable, "this node cannot say which changes it has applied")
	}
	if err = n.AwaitPosition(ctx, position); err != nil && ctx.Err() != nil {
		return core.WrapError(core.Unavailable, "this node has not applied all changes up to position "+text, err)
	}
	return err
}
