package upstream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core/verify"
)

// The lifetimes of the edges' verdicts, and the bounds of how old an answer may be that follow from them. A lifetime
// counts from the look-up or from when the feed was last read to its end, and is drawn within a tenth.
const (
	historyTTL      = 2 * time.Second
	historyLonger   = 20 * time.Second // while the feed is read
	historyNegative = time.Second
	historyStale    = time.Second
	historyTimeout  = 500 * time.Millisecond

	oldestHit = historyTTL + historyTTL/10
)

// ageBounds are how long before a call the state may have been current that an edge answers with. What was looked up
// for the call itself is not older than the call, and what another call has looked up than the longest look-up.
var ageBounds = map[verify.Status]time.Duration{
	verify.Miss:      0,
	verify.Coalesced: historyTimeout,
	verify.Negative:  historyNegative,
	verify.Hit:       oldestHit,
	verify.Stale:     oldestHit + historyStale,
}

// world says what a history is made in.
type world struct {
	length time.Duration
	faults int // of 100 requests of an edge

	// nodes are how many nodes there are on one database; 0: one. lag is how long one of them may answer as before a
	// change of another. open names a new database.
	nodes int
	lag   time.Duration
	open  func(t testing.TB) (dsn string)

	// behind is how old the answers to look-ups are at a second address of the upstream; 0: there is none.
	behind time.Duration
	// late is how old the feed is that the edges read.
	late time.Duration

	connect func(t testing.TB, h http.Handler) place
}

// place is where an edge finds its upstream.
type place struct {
	address string
	dial    func(ctx context.Context, network, address string) (net.Conn, error) // nil: as usual
}

const historyEdges = 3

// run makes a history.
type run struct {
	*history
	world

	t      testing.TB
	random *rand.Rand // of what happens to the machines
	nodes  []*restartable
	links  [historyEdges][]*link
	places [historyEdges][]place
	feed   *lateFeed
	over   context.Context // ends when nothing more is to happen
	later  sync.WaitGroup
	edges  [historyEdges]atomic.Pointer[historyEdge]
	keys   []*historyKey
	serial atomic.Int64 // of what needs a name of its own
	seen   *counts

	newestMu       sync.Mutex
	newestChange   *operation
	newestPosition uint64
}

// historyEdge is an edge from one start to the next. Each has a name of its own.
type historyEdge struct {
	name     string
	remote   *Remote
	verifier *verify.Verifier
}

func (e *historyEdge) close() {
	e.verifier.Close()
	e.remote.Close()
}

// makeHistory runs callers, readers and faults at random, and returns what was done and read.
func makeHistory(t testing.TB, seed uint64, w world, seen *counts) *run {
	t.Helper()
	over, end := context.WithTimeout(context.Background(), w.length)
	defer end()
	r := &run{
		history: &history{start: time.Now()}, world: w, t: t, over: over,
		random: rand.New(rand.NewPCG(seed, 0)), seen: seen,
	}
	dsn := w.open(t)
	for i := range max(w.nodes, 1) {
		r.nodes = append(r.nodes, newRestartable(t, fmt.Sprintf("node-%d", i), dsn))
	}
	r.feed = newLateFeed(r.nodes[0], w.late)
	ending, stop := context.WithCancel(context.Background())
	for i := range historyEdges {
		r.connectEdge(ending, i, seed)
	}
	for i := range 4 {
		r.keys = append(r.keys, &historyKey{raw: fmt.Sprintf("imported-%d", i)}, &historyKey{})
	}
	var all sync.WaitGroup
	all.Go(r.feed.watch(ending))
	var work sync.WaitGroup
	for i := range uint64(3) {
		work.Go(func() { (&caller{r, rand.New(rand.NewPCG(seed, 100+i))}).operate() })
	}
	for i := range uint64(2) {
		for edge := range historyEdges {
			work.Go(func() { r.readAt(edge, rand.New(rand.NewPCG(seed, 200+10*i+uint64(edge)))) })
		}
	}
	for i, n := range r.nodes {
		work.Go(func() { r.readAtNode(n, rand.New(rand.NewPCG(seed, 300+uint64(i)))) })
	}
	r.disturb()
	work.Wait()
	r.later.Wait()
	stop()
	for i := range r.edges {
		r.edges[i].Load().close()
		for _, l := range r.links[i] {
			l.late.Wait()
		}
	}
	all.Wait()
	return r
}

// connectEdge makes the links of an edge, and starts it.
func (r *run) connectEdge(ending context.Context, i int, seed uint64) {
	r.t.Helper()
	targets := []func(*http.Request) (*httptest.ResponseRecorder, bool){r.feed.serve}
	for _, other := range r.nodes[1:] {
		targets = append(targets, other.serve)
	}
	if r.behind > 0 {
		targets = append(targets, (&behindAddress{node: r.nodes[0], age: r.behind}).serve)
	}
	for j, to := range targets {
		l := &link{
			to: to, ending: ending, faults: r.faults, random: rand.New(rand.NewPCG(seed, 400+10*uint64(j)+uint64(i))),
		}
		r.links[i] = append(r.links[i], l)
		r.places[i] = append(r.places[i], r.connect(r.t, l))
	}
	r.startEdge(i)
}

// startEdge starts an edge, in place of the one that there was.
func (r *run) startEdge(i int) {
	r.t.Helper()
	config := Config{
		Timeout: historyTimeout, FollowWait: historyTTL / 4,
		EdgeID: fmt.Sprintf("edge-%d-%d", i, r.serial.Add(1)), Breaker: Breaker{Pause: 100 * time.Millisecond},
	}
	u := remoteAt(r.t, config, r.places[i]...)
	v, err := verify.New(u.Fit(verify.Config{
		TTL: historyTTL, TTLConnected: historyLonger, NegativeTTL: historyNegative, StaleIfError: historyStale,
	}), u)
	if err != nil {
		r.t.Error(err)
		return
	}
	u.Follow(context.Background())
	if old := r.edges[i].Swap(&historyEdge{config.EdgeID, u, v}); old != nil {
		old.close()
	}
}

// remoteAt opens a Remote whose upstream is at places.
func remoteAt(t testing.TB, config Config, places ...place) *Remote {
	t.Helper()
	for _, p := range places {
		config.Addresses = append(config.Addresses, p.address)
	}
	u, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range u.pool.addresses {
		if places[i].dial != nil {
			_, carrier := a.client.Target()
			transport := carrier.(*http.Transport) //nolint:errcheck,forcetypeassert // the client has made it
			transport.DialContext = places[i].dial
		}
	}
	return u
}

// disturb does things to the machines and the links between them until the end, and then leaves them as they are.
func (r *run) disturb() {
	for r.over.Err() == nil {
		pause(r.over, r.between(100, 900))
		i := r.random.IntN(historyEdges)
		l := r.links[i][r.random.IntN(len(r.links[i]))]
		switch r.random.IntN(12) {
		case 0, 1, 2:
			r.cut(l, feedTraffic)
		case 3:
			r.cut(l, lookUpTraffic)
		case 4, 5:
			r.cut(l, feedTraffic, lookUpTraffic)
		case 6:
			r.startEdge(i)
		case 7:
			n := r.anyNode(r.random)
			n.stop()
			pause(r.over, r.between(0, 800))
			n.start()
		case 8, 9:
			r.anyNode(r.random).prune()
		default:
			l.setSlow(r.between(0, 2) * 100)
		}
	}
}

// anyNode is one of the nodes.
func (r *run) anyNode(random *rand.Rand) *restartable { return r.nodes[random.IntN(len(r.nodes))] }

// between is a random time, in milliseconds.
func (r *run) between(least, most int) time.Duration {
	return time.Duration(least+r.random.IntN(most-least+1)) * time.Millisecond
}

// cut cuts kinds of traffic for a while.
func (r *run) cut(l *link, kinds ...traffic) {
	resets, lasts := r.random.IntN(2) == 0, r.between(200, 5000)
	for _, kind := range kinds {
		l.cut(kind, resets)
	}
	r.later.Go(func() {
		pause(r.over, lasts)
		for _, kind := range kinds {
			l.heal(kind)
		}
	})
}
