package confirm

import (
	"context"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	// heartbeat is how often a process records that it is there.
	heartbeat = 20 * time.Second
	// nodesInterval is how often the records of other processes are read while somebody waits for them, and how often
	// at most this process looks for somebody who does. One that is alone has looked for it aloneInterval ago at most.
	nodesInterval = 5 * time.Millisecond
	aloneInterval = 50 * time.Millisecond
	// storeTimeout bounds a call of the store.
	storeTimeout = 5 * time.Second
)

// Store is where processes on one database record how far they have come. A [core.Store] is one.
type Store interface {
	SaveNode(ctx context.Context, n core.NodeState) error
	RemoveNode(ctx context.Context, id string) error
	Nodes(ctx context.Context) (nodes []core.NodeState, awaited time.Time, err error)
	AwaitNodes(ctx context.Context, until time.Time) error
	Positions() *feed.Positions
}

// Confirmations know how far every reader of a database's feed has come.
type Confirmations struct {
	Edges

	store Store
	self  feed.Edge // of this process; its Position and Seen are those of its record
	stop  context.CancelFunc
	done  chan struct{}
}

// New records this process in the database, under a name that no other process has, and keeps the record up to date
// until Close, also when ctx has ended.
func New(ctx context.Context, store Store, id, version string) *Confirmations {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &Confirmations{
		store: store, self: feed.Edge{ID: id, Version: version}, stop: stop, done: make(chan struct{}),
	}
	go c.run(ctx)
	return c
}

// Close ends the record of this process. Another process, such as the next one, waits for the edges that read from this
// one. It is called before the store is closed, at most once.
func (c *Confirmations) Close() {
	c.stop()
	<-c.done
}

// run keeps the record. While somebody waits, it is written as soon as this process or one of its edges has come
// further.
func (c *Confirmations) run(ctx context.Context) {
	defer close(c.done)
	var written time.Time
	for ctx.Err() == nil {
		changed, moved := c.store.Positions().After(c.store.Positions().Applied()), c.moved()
		now := time.Now()
		alone, awaited := c.look(ctx, now)
		if awaited || now.Sub(written) >= heartbeat {
			c.save(ctx, now)
			written = now
		}
		select {
		case <-changed:
		case <-moved:
		case <-after(ctx, written.Add(heartbeat).Sub(now)):
		}
		if alone {
			<-after(ctx, aloneInterval)
		} else {
			<-after(ctx, nodesInterval)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	c.end(ctx)
}

// ended is when a process was last heard of that has left its edges to others.
var ended = time.Unix(0, 0).UTC()

// end removes the record, or leaves the edges to whoever reads it next. What fails makes others wait for this process
// for a minute.
func (c *Confirmations) end(ctx context.Context) {
	if c.Live() == 0 {
		_ = c.store.RemoveNode(ctx, c.self.ID)
		return
	}
	n := core.NodeState{Edge: c.self, Edges: c.Edges.List()}
	n.Seen = ended
	_ = c.store.SaveNode(ctx, n)
}

// inherit takes over the edges of processes that have ended, and returns the other records. An edge that reads from
// this process by now is known better here.
func (c *Confirmations) inherit(ctx context.Context, nodes []core.NodeState) []core.NodeState {
	return slices.DeleteFunc(nodes, func(n core.NodeState) bool {
		if !n.Seen.Equal(ended) {
			return false
		}
		c.Edges.inherit(n.Edges)
		_ = c.store.RemoveNode(ctx, n.ID) // if that fails, it is inherited once more
		return true
	})
}

// moved is a channel that is closed when an edge of this process has come further.
func (c *Confirmations) moved() <-chan struct{} { return c.tally(new(tally), 0, time.Time{}) }

// look reports whether there is no other process, and whether somebody waits for the records. A database that does not
// answer is asked again with the next change.
func (c *Confirmations) look(ctx context.Context, now time.Time) (alone, awaited bool) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	nodes, until, err := c.store.Nodes(ctx)
	nodes = c.inherit(ctx, nodes)
	return err == nil && len(c.without(nodes)) == 0, err == nil && now.Before(until)
}

// save writes the record. What fails is tried again with the next heartbeat or change.
func (c *Confirmations) save(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	n := core.NodeState{Edge: c.self, Edges: c.Edges.List()}
	n.Position, n.Seen = c.store.Positions().Applied(), now
	_ = c.store.SaveNode(ctx, n)
}

// Announce says that a change is about to be made that is waited for until a moment. Other processes then record their
// positions with each change. It is called before the change.
func (c *Confirmations) Announce(ctx context.Context, until time.Time) error {
	others, err := c.others(ctx)
	if err != nil || len(others) == 0 {
		return err
	}
	return c.store.AwaitNodes(ctx, until)
}

// others are the records of the other processes.
func (c *Confirmations) others(ctx context.Context) ([]core.NodeState, error) {
	nodes, _, err := c.store.Nodes(ctx)
	return c.without(c.inherit(ctx, nodes)), err
}

// without are records without that of this process.
func (c *Confirmations) without(nodes []core.NodeState) []core.NodeState {
	return slices.DeleteFunc(nodes, func(n core.NodeState) bool { return n.ID == c.self.ID })
}

// Result is who has applied a change.
type Result struct {
	Confirmed   int      // edges and other processes
	Unconfirmed []string // the names of those that have not, or have not said so, in their order
}

// unknownNodes stands for the other processes while the database does not say which there are.
const unknownNodes = "(other processes on the database)"

// Await waits until every edge that is live now has applied all changes up to a position, or ctx ends.
func (c *Confirmations) Await(ctx context.Context, position uint64) Result {
	began := time.Now()
	for {
		// The database answers also when ctx has ended: the result is that of the end.
		nodes, err := c.others(context.WithoutCancel(ctx))
		var elsewhere tally
		if err != nil {
			elsewhere.behind = []string{unknownNodes}
		}
		for i := range nodes {
			c.tallyNode(&elsewhere, &nodes[i], position, began)
		}
		var again <-chan struct{} // nil: no other process is waited for
		if len(elsewhere.behind) > 0 {
			again = after(ctx, nodesInterval)
		}
		if result, over := c.awaitOwn(ctx, &elsewhere, position, began, again); over {
			return result
		}
	}
}

// awaitOwn waits for the edges of this process, until the other processes are to be asked again.
func (c *Confirmations) awaitOwn(
	ctx context.Context, elsewhere *tally, position uint64, began time.Time, again <-chan struct{},
) (result Result, over bool) {
	for {
		t := tally{confirmed: elsewhere.confirmed, behind: slices.Clone(elsewhere.behind)}
		changed := c.tally(&t, position, began)
		if len(t.behind) == 0 || ctx.Err() != nil {
			slices.Sort(t.behind)
			return Result{Confirmed: t.confirmed, Unconfirmed: t.behind}, true
		}
		select {
		case <-changed:
		case <-again:
			return Result{}, false
		case <-ctx.Done():
		}
	}
}

// tallyNode counts a process and its edges, but for those that read from this process by now: they are known better
// here. Their process may have been killed.
func (c *Confirmations) tallyNode(t *tally, n *core.NodeState, position uint64, at time.Time) {
	if !isLive(&n.Edge, at) {
		return
	}
	t.add(&n.Edge, position)
	for i := range n.Edges {
		if e := &n.Edges[i]; isLive(e, at) && !c.knows(e) {
			t.add(e, position)
		}
	}
}

// List returns all edges that are shown: those that read from this process, the other processes, and those that read
// from them.
func (c *Confirmations) List(ctx context.Context) ([]feed.Edge, error) {
	nodes, err := c.others(ctx)
	if err != nil {
		return nil, err
	}
	all, now := c.Edges.List(), time.Now()
	for i := range nodes {
		n := &nodes[i]
		for _, e := range append([]feed.Edge{n.Edge}, n.Edges...) {
			if c.knows(&e) {
				continue
			}
			if e.ID != n.ID && e.Via == "" {
				e.Via = n.ID
			}
			if now.Sub(e.Seen) <= ShownFor {
				all = append(all, e)
			}
		}
	}
	return all, nil
}

// after is a channel that is closed after a time, or when ctx ends.
func after(ctx context.Context, d time.Duration) <-chan struct{} {
	ctx, cancel := context.WithTimeout(ctx, d)
	context.AfterFunc(ctx, cancel)
	return ctx.Done()
}
