package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	api "github.com/talos-edge/talos-edge/adminapi/client"
)

// The sizes of a run with -edges that the command line does not choose.
type feedSizes struct {
	keys  int           // that the load uses
	pace  time.Duration // of the load on each edge
	slot  time.Duration // of the comparison of whole requests, and of verifications
	slots int           // before a backlog
	conns int

	manyKeys      int           // of the comparison of whole requests
	rounds        int           // of that
	turns, issues int           // of the comparison of issues: rounds, and issues in a slot
	phase         time.Duration // of many readers
	waits         int           // changes that all of many readers confirm
}

// fullFeedSizes are those of the project's goals.
var fullFeedSizes = feedSizes{
	keys: 20, pace: 50 * time.Millisecond, slot: time.Second, slots: 5, conns: 64,
	manyKeys: 1000, rounds: 20, turns: 10, issues: 2000,
	phase: 30 * time.Second, waits: 50,
}

// The sections of a run with -edges, in their order.
var feedSections = []part[*feedBench]{
	{"revocations", (*feedBench).revocations},
	{"backlog", (*feedBench).backlog},
	{"readers", (*feedBench).readers},
	{"cost", (*feedBench).cost},
}

// A feedBench is a run with -edges: nodes, and edges that follow their feeds. Each section starts its own.
type feedBench struct {
	*bench
	sizes feedSizes
}

// runFeed does the sections and prints each when it is done, or all of them as JSON.
func runFeed(ctx context.Context, o options, sizes feedSizes, out, progress io.Writer) (err error) {
	runtime.LockOSThread() // until the bench is closed
	f := &feedBench{bench: &bench{options: o, progress: progress}, sizes: sizes}
	defer func() { err = f.end(ctx, err) }()
	f.rounds, f.slot, f.conns = sizes.rounds, sizes.slot, sizes.conns
	if f.dir, err = os.MkdirTemp("", "talos-loadtest-"); err != nil {
		return err
	}
	f.launcher.gogc, f.launcher.gomemlimit = o.gogc, o.gomemlimit
	if err := f.binaries(ctx, []variant{{}}); err != nil {
		return err
	}
	if err := f.helpers(ctx); err != nil {
		return err
	}
	return runParts(ctx, f, f.bench, feedSections, out)
}

// feedNode starts a node without keys.
func (f *feedBench) feedNode(ctx context.Context, name string) (*proxy, error) {
	p, err := f.launch(ctx, variant{name: name, file: "gated.caddyfile", gated: true})
	if err != nil {
		return nil, err
	}
	f.children = append(f.children, p.process)
	return p, nil
}

// launchEdge starts an edge of a node.
func (f *feedBench) launchEdge(ctx context.Context, node *proxy, name string) (*proxy, error) {
	p, err := f.launch(ctx, variant{name: name, file: "edge.caddyfile", env: []string{
		"TALOS_LOADTEST_UPSTREAM=" + portOf(node.api), "TALOS_LOADTEST_EDGE=" + name,
	}})
	if err != nil {
		return nil, err
	}
	f.children = append(f.children, p.process)
	return p, nil
}

// following starts n edges of a node, each a process of its own, and waits until all follow its feed.
func (f *feedBench) following(ctx context.Context, node *proxy, n int) (edges []*proxy, err error) {
	began := time.Now()
	for i := range n {
		p, err := f.launchEdge(ctx, node, "edge-"+strconv.Itoa(i))
		if err != nil {
			return edges, err
		}
		edges = append(edges, p)
	}
	if err := node.awaitEdges(ctx, n); err != nil {
		return edges, err
	}
	f.say("%d edges follow the node after %s", n, time.Since(began).Round(time.Millisecond))
	return edges, nil
}

// stopAll ends processes, all at once.
func stopAll(all ...*proxy) {
	for _, p := range all {
		p.cancel()
	}
	for _, p := range all {
		p.stop()
	}
}

// edgesPatience bounds how long edges may take until they have applied all changes.
const edgesPatience = 3 * time.Minute

// awaitEdges waits until n edges follow a node, none of which is behind.
func (p *proxy) awaitEdges(ctx context.Context, n int) error {
	return p.awaitState(ctx, func(state *api.EdgesResponse) error {
		behind := slices.ContainsFunc(state.Edges, func(e api.EdgeState) bool { return e.Lag > 0 })
		if len(state.Edges) == n && !behind {
			return nil
		}
		return fmt.Errorf("%d edges of %d follow the feed, or some of them are behind", len(state.Edges), n)
	})
}

// awaitEdge waits until an edge of a node has come to a position.
func (p *proxy) awaitEdge(ctx context.Context, name string, position uint64) error {
	return p.awaitState(ctx, func(state *api.EdgesResponse) error {
		for _, e := range state.Edges {
			if e.EdgeID == name && uint64(e.Position) >= position {
				return nil
			}
		}
		return fmt.Errorf("%s is not at position %d", name, position)
	})
}

// awaitState asks a node for its edges until they are as judge expects.
func (p *proxy) awaitState(ctx context.Context, judge func(*api.EdgesResponse) error) error {
	ctx, cancel := context.WithTimeout(ctx, edgesPatience)
	defer cancel()
	c, err := p.client(1)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		state, err := c.Edges(ctx)
		if err != nil {
			return p.failure(err)
		}
		wrong := judge(state)
		if wrong == nil {
			return nil
		}
		if err := until(ctx, time.Now().Add(20*time.Millisecond)); err != nil {
			return p.failure(errors.Join(wrong, err))
		}
	}
}

// position is the end of a node's feed.
func (p *proxy) position(ctx context.Context) (uint64, error) {
	c, err := p.client(1)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	state, err := c.Edges(ctx)
	if err != nil {
		return 0, p.failure(err)
	}
	return uint64(state.Position), nil
}

// client makes a client of a node's admin API that keeps up to conns connections.
func (p *proxy) client(conns int) (*api.Client, error) {
	return api.New("http://"+p.api, api.WithTransport(&http.Transport{MaxIdleConnsPerHost: conns}))
}

// A change is what came of a call that changed a key.
type change struct {
	took        time.Duration
	answered    time.Time
	confirmed   int
	unconfirmed int
}

// revoke revokes a key. With wait, the answer comes when the edges have confirmed the change.
func (p *proxy) revoke(ctx context.Context, id string, wait time.Duration) (change, error) {
	var made change
	call := "issuedApiKeys/" + id + ":revoke"
	if wait > 0 {
		call += "?wait=" + wait.String()
	}
	began := time.Now()
	_, header, err := p.post(ctx, call, []byte("{}"))
	made.answered = time.Now()
	made.took = made.answered.Sub(began)
	if err != nil || wait == 0 {
		return made, err
	}
	if made.confirmed, err = strconv.Atoi(header.Get(api.ConfirmedHeader)); err != nil {
		return made, fmt.Errorf("%s: %w", api.ConfirmedHeader, err)
	}
	if made.unconfirmed, err = strconv.Atoi(header.Get(api.UnconfirmedHeader)); err != nil {
		return made, fmt.Errorf("%s: %w", api.UnconfirmedHeader, err)
	}
	return made, nil
}

// waitForEdges is how long a change waits for its confirmations.
const waitForEdges = 5 * time.Second

// A distribution describes durations, in ms.
type distribution struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50_ms"`
	P90 float64 `json:"p90_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// distributionOf describes durations. Without any, all is 0.
func distributionOf(all []time.Duration) distribution {
	if len(all) == 0 {
		return distribution{}
	}
	sorted := make([]float64, len(all))
	for i, d := range all {
		sorted[i] = milliseconds(d)
	}
	slices.Sort(sorted)
	return distribution{
		N: len(all), P50: quantile(sorted, 0.5), P90: quantile(sorted, 0.9), P99: quantile(sorted, 0.99),
		Max: sorted[len(sorted)-1],
	}
}

// columns are the cells of a table, under [distributionColumns].
func (d *distribution) columns() string {
	return fmt.Sprintf("%d\t%.2f\t%.2f\t%.2f\t%.2f\t", d.N, d.P50, d.P90, d.P99, d.Max)
}

const distributionColumns = "n\tp50 ms\tp90 ms\tp99 ms\tmax ms\t"

// mebi writes a size in MiB, of which a negative one is unknown.
func mebi(bytes float64) string {
	if bytes < 0 {
		return "n/a"
	}
	return strconv.FormatFloat(bytes/(1<<20), 'f', 1, 64)
}

// resident is the resident memory of a process now and at most so far, in bytes, or -1 where it cannot be read.
func (p *process) resident() (now, most float64) {
	now, most, ok := memory(p.pid)
	if !ok {
		return -1, -1
	}
	return now, most
}
