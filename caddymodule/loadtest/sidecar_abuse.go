package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// filesBeside is how many files an edge may have open beside its connections and those to the app.
const filesBeside = 1000

// An abuseResult is an edge under many connections that behave badly.
type abuseResult struct {
	abuse
	Wanted  int     `json:"connections_wanted"`
	Files   uint64  `json:"open_files_limit"`
	Length  float64 `json:"seconds"`
	Far     float64 `json:"round_trip_ms"`
	MaxWait int     `json:"max_queue"`
	Before  gauges  `json:"before"`
	Most    gauges  `json:"most"`
	After   gauges  `json:"after"`
	Sent    float64 `json:"upstream_calls"`
	Asked   float64 `json:"keys_asked"`
}

// gauges are what has to stay within bounds.
type gauges struct {
	Queue    float64 `json:"queue"`
	Routines float64 `json:"goroutines"`
	Heap     float64 `json:"heap_bytes"`
	Stacks   float64 `json:"stack_bytes"`
	Resident float64 `json:"resident_bytes"` // 0: cannot be read
}

func (g *gauges) raise(other gauges) {
	g.Queue, g.Routines = max(g.Queue, other.Queue), max(g.Routines, other.Routines)
	g.Heap, g.Stacks = max(g.Heap, other.Heap), max(g.Stacks, other.Stacks)
	g.Resident = max(g.Resident, other.Resident)
}

func (c *abuseResult) title() string {
	return fmt.Sprintf("%d connections for %.0f s, upstream %.0f ms away, max_queue %d: in ten, %d ask and wait, "+
		"%d ask and go away, %d ask byte by byte", c.Open, c.Length, c.Far, c.MaxWait, waitersOfTen, leaversOfTen,
		10-waitersOfTen-leaversOfTen)
}

func (c *abuseResult) table(line func(string, ...any)) {
	if c.Wanted > int(c.Open) {
		line("%d connections were wanted; a process here may open %d files", c.Wanted, c.Files)
		line("")
	}
	line("of the edge\tbefore\tat most\tafter\t")
	line("look-ups in the queue\t%.0f\t%.0f\t%.0f\t", c.Before.Queue, c.Most.Queue, c.After.Queue)
	line("goroutines\t%.0f\t%.0f\t%.0f\t", c.Before.Routines, c.Most.Routines, c.After.Routines)
	mib := func(bytes float64) string {
		if bytes == 0 {
			return "n/a"
		}
		return strconv.FormatFloat(bytes/(1<<20), 'f', 0, 64)
	}
	line("heap in use MiB\t%s\t%s\t%s\t", mib(c.Before.Heap), mib(c.Most.Heap), mib(c.After.Heap))
	line("stacks MiB\t%s\t%s\t%s\t", mib(c.Before.Stacks), mib(c.Most.Stacks), mib(c.After.Stacks))
	line("resident MiB\t%s\t%s\t%s\t", mib(c.Before.Resident), mib(c.Most.Resident), mib(c.After.Resident))
	line("")
	line("answers\t200\t401\t503\tother\t")
	line("good credentials\t%d\t%d\t%d\t%d\t", c.Good.Good, c.Good.Refused, c.Good.Unavailable, c.Good.Other)
	line("unknown credentials\t%d\t%d\t%d\t%d\t", c.Forged.Good, c.Forged.Refused, c.Forged.Unavailable, c.Forged.Other)
	line("")
	line("%d callers went away, %d slow ones were cut off, %d did not connect; %.0f upstream calls with %.0f keys",
		c.Left, c.Cut, c.Failed, c.Sent, c.Asked)
	if c.First != "" {
		line("the first that did not connect: %s", c.First)
	}
}

func (c *abuseResult) wrong() error {
	return errors.Join(c.Good.mistaken(true), c.Forged.mistaken(false))
}

// fits is how many abusing connections a process with so many open files can take, at most n: one for each, and one
// to the app for each that waits for an answer.
func fits(n int, files uint64) int {
	if files <= filesBeside {
		return 0
	}
	most := (files - filesBeside) * 10 / (10 + waitersOfTen)
	return int(min(uint64(max(n, 0)), most)) //nolint:gosec // not beyond n
}

// abuse lets many connections behave badly and watches what they take.
func (e *edgeBench) abuse(ctx context.Context) (section, error) {
	found := &abuseResult{
		Wanted: e.sizes.abuse, Length: e.sizes.abuseTime.Seconds(), Far: milliseconds(e.sizes.abuseFar),
		MaxWait: e.sizes.abuseMax,
	}
	conns := e.sizes.abuse
	if limit, ok := openFiles(); ok {
		found.Files = limit
		conns = fits(conns, limit)
	}
	if conns == 0 {
		return nil, errors.New("a process may open too few files here")
	}
	if err := e.connect(ctx, e.sizes.abuseFar); err != nil {
		return nil, err
	}
	p, err := e.edge(ctx, "abuse", "QUEUE", strconv.Itoa(e.sizes.abuseMax))
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := e.aim("abuse", p.addr, e.node.credentials[:min(100, len(e.node.credentials))], false); err != nil {
		return nil, err
	}
	before, err := p.read(ctx)
	if err != nil {
		return nil, p.failure(err)
	}
	found.Before = gaugesOf(p, before)
	loaded := make(chan error, 1)
	var did tally
	go func() {
		var err error
		did, err = e.do(job{Op: opAbuse, Target: "abuse", Conns: conns, Slot: e.sizes.abuseTime})
		loaded <- err
	}()
	if err := watch(ctx, p, loaded, &found.Most); err != nil {
		return nil, err
	}
	after, err := calm(ctx, p)
	if err != nil {
		return nil, p.failure(err)
	}
	if did.Abuse != nil {
		found.abuse = *did.Abuse
	}
	if _, most, ok := memory(p.pid); ok {
		found.Most.Resident = most
	}
	found.After = gaugesOf(p, after)
	grown := after.since(before)
	found.Sent, found.Asked = grown.sent(), grown[metricAsked]
	return found, e.connect(ctx, e.sizes.roundTrip)
}

func gaugesOf(p *proxy, r reading) gauges {
	resident, _, _ := memory(p.pid)
	return gauges{
		Queue: r[metricQueue], Routines: r[metricWorkers], Heap: r[metricHeap], Stacks: r[metricStacks],
		Resident: resident,
	}
}

// watch reads the gauges ten times a second until the load has ended.
func watch(ctx context.Context, p *proxy, loaded <-chan error, most *gauges) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-loaded:
			return err
		case <-tick.C:
		}
		if r, err := p.read(ctx); err == nil { // one that is too busy for this is asked again
			most.raise(gaugesOf(p, r))
		}
	}
}

// calm waits until nothing is looked up any more and no more connections end, for at most ten seconds. Some of those to
// the app stay open for the next request.
func calm(ctx context.Context, p *proxy) (reading, error) {
	deadline := time.Now().Add(10 * time.Second)
	for last := 0.0; ; {
		r, err := p.read(ctx)
		if err != nil {
			return nil, err
		}
		if r[metricQueue] == 0 && r[metricWorkers] == last || time.Now().After(deadline) {
			return r, nil
		}
		last = r[metricWorkers]
		if err := until(ctx, time.Now().Add(time.Second)); err != nil {
			return nil, err
		}
	}
}
