package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// The variants of the comparison of whole requests.
const (
	following    = "following"
	notFollowing = "not following"
)

// The variants of the comparison of issues.
const (
	issuesBefore = "before"
	issuesAlone  = "now"
	issuesEdges  = "now, with edges"
)

// A costResult is what the feed costs an edge, and the node that writes it.
type costResult struct {
	Rounds   int          `json:"rounds"`
	Slot     string       `json:"slot"`
	Conns    int          `json:"conns"`
	Requests []row        `json:"requests"`
	Pairs    []comparison `json:"comparisons"`
	Failed   uint64       `json:"failed"`

	Edges      int          `json:"edges"`
	Turns      int          `json:"rounds_of_issues"`
	Issues     int          `json:"issues_a_slot"`
	AtOnce     int          `json:"at_once"`
	Rows       []issuesRow  `json:"issues"`
	IssuePairs []comparison `json:"comparisons_of_issues"`
}

// An issuesRow is a node that issues keys.
type issuesRow struct {
	Name string  `json:"name"`
	Rate *spread `json:"issues_per_second"`
	CPU  *spread `json:"node_cpu_us_per_issue"` // null where it cannot be read
}

func (c *costResult) title() string {
	return fmt.Sprintf("what the feed costs: whole requests through an edge (%d rounds of %s at %d connections, "+
		"a change a second), and issues at a node (%d rounds of %d, %d at once)", c.Rounds, c.Slot, c.Conns,
		c.Turns, c.Issues, c.AtOnce)
}

func (c *costResult) table(line func(string, ...any)) {
	line("edge\treq/s (quartiles)\tCPU µs/req\tp50 µs at 1\tp99 µs at 1\tfailures\t")
	for i := range c.Requests {
		r := &c.Requests[i]
		cpu := "n/a"
		if r.CPU != nil {
			cpu = fmt.Sprintf("%.1f", *r.CPU)
		}
		line("%s\t%s\t%s\t%s\t%s\t%d %s\t", r.Name, around(r.Rate, 0), cpu, middle(r.P50), middle(r.P99),
			r.Failures, r.First)
	}
	line("")
	line("node\tissues/s (quartiles)\tnode CPU µs/issue\t")
	for _, r := range c.Rows {
		line("%s\t%s\t%s\t", r.Name, around(r.Rate, 0), around(r.CPU, 1))
	}
	line("")
	line("comparison, median of the rounds\tquartiles\tgoal\t")
	for _, p := range append(c.Pairs, c.IssuePairs...) {
		line("%s\t%s %s\t%s\t", p.What, around(p.Value, 3), p.Unit, p.Goal)
	}
	line("")
	line("%s: the upstream answers its questions for events with 404. With edges: %d processes follow the node, and "+
		"share the processors with it.", notFollowing, c.Edges)
}

func (c *costResult) wrong() error {
	if c.Failed > 0 {
		return fmt.Errorf("%d requests failed", c.Failed)
	}
	return nil
}

// cost compares edges that follow and that do not, and nodes that have edges and that have none.
func (f *feedBench) cost(ctx context.Context) (section, error) {
	c := &costResult{
		Rounds: f.rounds, Slot: f.slot.String(), Conns: f.conns,
		Edges: f.feed.edges, Turns: f.sizes.turns, Issues: f.sizes.issues, AtOnce: issuers,
	}
	if err := f.costOfRequests(ctx, c); err != nil {
		return nil, err
	}
	return c, f.costOfIssues(ctx, c)
}

// costOfRequests loads two edges of one node by turns.
func (f *feedBench) costOfRequests(ctx context.Context, c *costResult) error {
	node, err := f.feedNode(ctx, "node")
	if err != nil {
		return err
	}
	defer node.stop()
	if err := node.issue(ctx, f.sizes.manyKeys); err != nil {
		return err
	}
	f.proxies = nil
	var filters []*process
	defer func() {
		stopAll(f.proxies...)
		for _, p := range filters {
			p.stop()
		}
	}()
	for _, name := range []string{following, notFollowing} {
		filter, at, err := f.filter(ctx, node.api, name == notFollowing)
		if err != nil {
			return err
		}
		filters = append(filters, filter)
		p, err := f.launch(ctx, variant{
			name: name, file: "sidecar.caddyfile", env: []string{"TALOS_LOADTEST_UPSTREAM=" + portOf(at)},
		})
		if err != nil {
			return err
		}
		f.children, f.proxies = append(f.children, p.process), append(f.proxies, p)
		if err := f.aim(name, p.addr, node.credentials, false); err != nil {
			return err
		}
		if _, err := f.each(name, f.conns, 0); err != nil {
			return p.failure(err)
		}
	}
	if err := node.awaitEdges(ctx, 1); err != nil {
		return err
	}
	changed := startChanges(ctx, node)
	all, err := f.compare(ctx)
	if err := errors.Join(err, changed()); err != nil {
		return err
	}
	for _, p := range f.proxies {
		r := all[p.variant.name].row(p.variant)
		c.Failed += r.Failures
		c.Requests = append(c.Requests, r)
	}
	c.Pairs = appendPair(nil, all, following, notFollowing, "≥ 0.99", false)
	c.Pairs = appendPair(c.Pairs, all, following, notFollowing, "", true)
	return nil
}

// startChanges makes a change each second until the function that it returns is called.
func startChanges(ctx context.Context, node *proxy) (end func() error) {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		for next := time.Now(); until(ctx, next) == nil; next = next.Add(time.Second) {
			if _, err := node.issueOne(ctx, "change"); err != nil && ctx.Err() == nil {
				ended <- node.failure(err)
				return
			}
		}
		ended <- nil
	}()
	return func() error {
		stop()
		return <-ended
	}
}

// An issuer is a node that issues keys in its turn.
type issuer struct {
	name      string
	node      *proxy
	edges     []*proxy
	rate, cpu []float64
}

// costOfIssues lets nodes issue keys by turns.
func (f *feedBench) costOfIssues(ctx context.Context, c *costResult) error {
	var all []*issuer
	defer func() {
		for _, s := range all {
			stopAll(append(s.edges, s.node)...)
		}
	}()
	for _, name := range []string{issuesBefore, issuesAlone, issuesEdges} {
		if name == issuesBefore && f.feed.before == "" {
			continue
		}
		node, err := f.nodeOf(ctx, name)
		if err != nil {
			return err
		}
		s := &issuer{name: name, node: node}
		all = append(all, s)
		if name == issuesEdges {
			if s.edges, err = f.following(ctx, node, f.feed.edges); err != nil {
				return err
			}
		}
	}
	for round := range f.sizes.turns {
		f.say("issues, round %d of %d", round+1, f.sizes.turns)
		for _, s := range rotated(all, round) {
			if err := s.slot(ctx, f.sizes.issues); err != nil {
				return err
			}
		}
	}
	c.compareIssues(all)
	return nil
}

// nodeOf starts a node of the binary that a variant is of.
func (f *feedBench) nodeOf(ctx context.Context, name string) (*proxy, error) {
	if name != issuesBefore {
		return f.feedNode(ctx, name)
	}
	ours := f.ours
	defer func() { f.ours = ours }()
	var err error
	if f.ours, err = binaryFor(ctx, f.feed.before, f.dir, ourMain); err != nil {
		return nil, err
	}
	return f.feedNode(ctx, name)
}

// slot issues n keys. What follows does not begin before the edges have applied that.
func (s *issuer) slot(ctx context.Context, n int) error {
	before, ok := cpuTime(s.node.pid)
	began := time.Now()
	if err := s.node.issue(ctx, n); err != nil {
		return err
	}
	s.rate = append(s.rate, float64(n)/time.Since(began).Seconds())
	if len(s.edges) > 0 {
		if err := s.node.awaitEdges(ctx, len(s.edges)); err != nil {
			return err
		}
	}
	cpu := math.NaN()
	if after, ok2 := cpuTime(s.node.pid); ok && ok2 {
		cpu = microseconds(after-before) / float64(n)
	}
	s.cpu = append(s.cpu, cpu)
	return nil
}

// compareIssues describes what the nodes did, each of them beside the one before it.
func (c *costResult) compareIssues(all []*issuer) {
	var before *issuer
	for _, s := range all {
		c.Rows = append(c.Rows, issuesRow{Name: s.name, Rate: known(s.rate), CPU: known(s.cpu)})
		if before == nil {
			before = s
			continue
		}
		what := fmt.Sprintf("issues/s: %s / %s", s.name, before.name)
		c.IssuePairs = append(c.IssuePairs, comparison{What: what, Value: known(combine(s.rate, before.rate, ratio))})
		what = fmt.Sprintf("node CPU an issue: %s − %s", s.name, before.name)
		c.IssuePairs = append(c.IssuePairs,
			comparison{What: what, Unit: "µs", Value: known(combine(s.cpu, before.cpu, difference))})
		before = s
	}
}
