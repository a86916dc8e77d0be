package confirm

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	// LiveFor is for how long after its last question an edge is waited for. It asks again after 30 s at the latest.
	LiveFor = time.Minute
	// ShownFor is for how long an edge is shown that is not live any more.
	ShownFor = 10 * time.Minute
	// MaxEdges is how many edges may read from one process.
	MaxEdges = 20_000
)

// Edges are the edges that read from this process. The zero value has none. All methods may be called from several
// goroutines.
type Edges struct {
	// Confirmed is called, if it is not nil, with the time from a change until an edge acknowledged it, once for each
	// acknowledgement. It must not block.
	Confirmed func(time.Duration)

	mu      sync.Mutex
	edges   map[name]*edge
	changed chan struct{} // closed when an edge acknowledges or leaves; nil: nobody waits
}

// name is what distinguishes edges. Those of different networks never meet.
type name struct {
	network      core.NetworkID
	id, instance string
}

func nameOf(e *feed.Edge) name { return name{e.Network, e.ID, e.Instance} }

type edge struct {
	feed.Edge

	sent     uint64    // the position that it was last sent, and not acknowledged
	sentTime time.Time // of the change at sent; zero: there is none
}

// Acknowledge notes what an edge has applied. Its Seen is set to now. A position that is lower than before is what
// counts: the edge has begun anew. It returns [core.Unavailable] when there are too many edges.
func (e *Edges) Acknowledge(by feed.Edge) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	by.Seen = time.Now()
	key := nameOf(&by)
	known := e.edges[key]
	if known == nil {
		if len(e.edges) >= MaxEdges {
			e.sweep(by.Seen)
		}
		if len(e.edges) >= MaxEdges {
			return core.NewError(core.Unavailable, fmt.Sprintf("%d edges read from this node already", MaxEdges))
		}
		known = new(edge)
		if e.edges == nil {
			e.edges = make(map[name]*edge)
		}
		e.edges[key] = known
	}
	known.Edge = by
	if !known.sentTime.IsZero() && by.Position >= known.sent {
		if e.Confirmed != nil {
			e.Confirmed(max(by.Seen.Sub(known.sentTime), 0))
		}
		known.sentTime = time.Time{}
	}
	e.wake()
	return nil
}

// Sent notes that an edge was sent the changes up to a position. last is the time of the last of them.
func (e *Edges) Sent(to *feed.Edge, position uint64, last time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if known := e.edges[nameOf(to)]; known != nil && position > known.Position {
		known.sent, known.sentTime = position, last
	}
}

// Leave forgets an edge that ends.
func (e *Edges) Leave(who *feed.Edge) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.edges, nameOf(who))
	e.wake()
}

// inherit adds edges that have read from another process, unless they are known better.
func (e *Edges) inherit(all []feed.Edge) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range all {
		key := nameOf(&all[i])
		known := e.edges[key]
		if known == nil && len(e.edges) >= MaxEdges || known != nil && !all[i].Seen.After(known.Seen) {
			continue
		}
		if e.edges == nil {
			e.edges = make(map[name]*edge)
		}
		e.edges[key] = &edge{Edge: all[i]}
	}
	e.wake()
}

// isElsewhere reports whether an edge of another process is not known here, or has read from there since. What is known
// here is then forgotten: the edge has moved.
func (e *Edges) isElsewhere(who *feed.Edge) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := nameOf(who)
	known := e.edges[key]
	if known != nil && !who.Seen.After(known.Seen) {
		return false
	}
	delete(e.edges, key)
	return true
}

// wake wakes who waits. mu is held.
func (e *Edges) wake() {
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

// sweep forgets the edges that are not shown any more. mu is held.
func (e *Edges) sweep(now time.Time) {
	for key, known := range e.edges {
		if now.Sub(known.Seen) > ShownFor {
			delete(e.edges, key)
		}
	}
}

// List returns all edges that are shown, of all networks, in the order of their ids.
func (e *Edges) List() []feed.Edge {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sweep(time.Now())
	all := make([]feed.Edge, 0, len(e.edges))
	for _, known := range e.edges {
		all = append(all, known.Edge)
	}
	slices.SortFunc(all, func(a, b feed.Edge) int {
		return strings.Compare(a.ID+"\x00"+a.Instance, b.ID+"\x00"+b.Instance)
	})
	return all
}

// awaited is what a change is waited for: that the edges of its network which were live at a moment have come to a
// position.
type awaited struct {
	network  core.NetworkID
	position uint64
	at       time.Time
}

// counts reports whether an edge is one of those that are waited for.
func (w *awaited) counts(e *feed.Edge) bool { return e.Network == w.network && isLive(e, w.at) }

// tally is how many edges have applied a position, and which have not.
type tally struct {
	confirmed int
	behind    []string // the names of edges that have not
}

func (t *tally) add(e *feed.Edge, position uint64) {
	if e.Position >= position {
		t.confirmed++
		return
	}
	t.behind = append(t.behind, e.ID)
}

// tally counts the edges that are waited for, and returns a channel that is closed when an edge has come further.
func (e *Edges) tally(t *tally, w *awaited) (changed <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, known := range e.edges {
		if w.counts(&known.Edge) {
			t.add(&known.Edge, w.position)
		}
	}
	if e.changed == nil {
		e.changed = make(chan struct{})
	}
	return e.changed
}

// isLive reports whether an edge counts at a moment.
func isLive(e *feed.Edge, at time.Time) bool { return at.Sub(e.Seen) < LiveFor }

// Live is how many edges are live, of all networks.
func (e *Edges) Live() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for _, known := range e.edges {
		if isLive(&known.Edge, now) {
			n++
		}
	}
	return n
}
