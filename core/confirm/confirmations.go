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
	// nodesInterval is how often the records of other processes are read while somebody waits for them. A process looks
	// with each change whether somebody does: at most that often, and at most each aloneInterval while it is alone.
	nodesInterval = 5 * time.Millisecond
	aloneInterval = 50 * time.Millisecond
	// retryInterval is the pause after a call of the store that failed.
	retryInterval = time.Second
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
		now, next := time.Now(), retryInterval
		seen, err := c.look(ctx)
		if err == nil && (now.Before(seen.awaited) || now.Sub(written) >= heartbeat) {
			if err = c.save(ctx, now); err == nil {
				written = now
			}
		}
		pace := nodesInterval
		if err == nil {
			next = written.Add(heartbeat).Sub(now)
		}
		if seen.alone {
			pace = aloneInterval
		}
		timer := time.NewTimer(next)
		select {
		case <-changed:
		case <-moved:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Reset(pace)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	c.end(ctx)
}

// ended is in the record of a process that has ended, in place of when it was last heard of. Its edges are waited for
// until they read from another process.
var ended = time.Unix(0, 0).UTC()

// end removes the record, or what it says but for the edges. If that fails, others wait for this process for a minute.
func (c *Confirmations) end(ctx context.Context) {
	if c.Live() == 0 {
		_ = c.store.RemoveNode(ctx, c.self.ID)
		return
	}
	n := core.NodeState{Edge: c.self, Edges: c.Edges.List()}
	n.Seen = ended
	_ = c.store.SaveNode(ctx, n)
}

// moved is a channel that is closed when an edge of this process has come further.
func (c *Confirmations) moved() <-chan struct{} { return c.tally(new(tally), new(awaited)) }

// sight is what the database says to a process.
type sight struct {
	alone   bool      // there is no other process
	awaited time.Time // until when somebody waits for records
}

// look reads the records, and takes over the edges of processes that have ended.
func (c *Confirmations) look(ctx context.Context) (sight, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	nodes, until, err := c.store.Nodes(ctx)
	if err != nil {
		return sight{}, err
	}
	s := sight{alone: true, awaited: until}
	for i := range nodes {
		switch n := &nodes[i]; {
		case n.Seen.Equal(ended):
			c.inherit(n.Edges)
			if n.ID != c.self.ID { // else it is overwritten
				_ = c.store.RemoveNode(ctx, n.ID) // if that fails, it is inherited once more
			}
		case n.ID != c.self.ID:
			s.alone = false
		}
	}
	return s, nil
}

// save writes the record.
func (c *Confirmations) save(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	n := core.NodeState{Edge: c.self, Edges: c.Edges.List()}
	n.Position, n.Seen = c.store.Positions().Applied(), now
	return c.store.SaveNode(ctx, n)
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

// others are the records of the other processes, those that have ended too.
func (c *Confirmations) others(ctx context.Context) ([]core.NodeState, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	nodes, _, err := c.store.Nodes(ctx)
	return slices.DeleteFunc(nodes, func(n core.NodeState) bool {
		return n.ID == c.self.ID && !n.Seen.Equal(ended)
	}), err
}

// Result is who has applied a change.
type Result struct {
	Confirmed   int      // edges and other processes
	Unconfirmed []string // the names of those that have not, or have not said so, in their order
}

// unknownNodes stands for the other processes while the database does not say which there are.
const unknownNodes = "(other processes on the database)"

// Await waits until every edge of a network that is live now, and every other process, has applied all changes up to a
// position, or ctx ends.
func (c *Confirmations) Await(ctx context.Context, network core.NetworkID, position uint64) Result {
	w := &awaited{network, position, time.Now()}
	for {
		// It is asked also when ctx has ended: the result is that of the end.
		nodes, err := c.others(context.WithoutCancel(ctx))
		var elsewhere tally
		if err != nil {
			elsewhere.behind = []string{unknownNodes}
		}
		for i := range nodes {
			c.tallyNode(&elsewhere, &nodes[i], w)
		}
		again := heartbeat // no other process is waited for
		if len(elsewhere.behind) > 0 {
			again = nodesInterval
		}
		if result, over := c.awaitOwn(ctx, &elsewhere, w, again); over {
			return result
		}
	}
}

// awaitOwn waits for the edges of this process, until the other processes are to be asked again.
func (c *Confirmations) awaitOwn(
	ctx context.Context, elsewhere *tally, w *awaited, again time.Duration,
) (result Result, over bool) {
	timer := time.NewTimer(again)
	defer timer.Stop()
	for {
		t := tally{confirmed: elsewhere.confirmed, behind: slices.Clone(elsewhere.behind)}
		changed := c.tally(&t, w)
		if len(t.behind) == 0 || ctx.Err() != nil {
			slices.Sort(t.behind)
			return Result{Confirmed: t.confirmed, Unconfirmed: t.behind}, true
		}
		select {
		case <-changed:
		case <-timer.C:
			return Result{}, false
		case <-ctx.Done():
		}
	}
}

// tallyNode counts a process, unless it has ended, and those of its edges that are waited for, unless they are known
// better here.
func (c *Confirmations) tallyNode(t *tally, n *core.NodeState, w *awaited) {
	switch {
	case n.Seen.Equal(ended):
	case isLive(&n.Edge, w.at):
		t.add(&n.Edge, w.position)
	default:
		return
	}
	for i := range n.Edges {
		if e := &n.Edges[i]; w.counts(e) && c.isElsewhere(e) {
			t.add(e, w.position)
		}
	}
}

// List returns all edges of a network that are shown: those that read from this process, the other processes, and those
// that read from them.
func (c *Confirmations) List(ctx context.Context, network core.NetworkID) ([]feed.Edge, error) {
	nodes, err := c.others(ctx)
	if err != nil {
		return nil, err
	}
	var all []feed.Edge
	now := time.Now()
	for i := range nodes {
		n := &nodes[i]
		if now.Sub(n.Seen) <= ShownFor {
			all = append(all, n.Edge)
		}
		for _, e := range n.Edges {
			if e.Network != network || now.Sub(e.Seen) > ShownFor || !c.isElsewhere(&e) {
				continue
			}
			if e.Via == "" {
				e.Via = n.ID
			}
			all = append(all, e)
		}
	}
	own := slices.DeleteFunc(c.Edges.List(), func(e feed.Edge) bool { return e.Network != network })
	return append(own, all...), nil
}
