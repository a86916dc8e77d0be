package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Bounds of the requests that find out whether an edge refuses a revoked key.
const (
	probesASecond  = 5000 // on all edges together, at most
	refusePatience = 10 * time.Second
	probesAfter    = 3 // on each edge, after a confirmed revocation
)

// revocationResult is what came of revocations of keys that every edge had admitted just before.
type revocationResult struct {
	Edges    int     `json:"edges"`
	LoadRate float64 `json:"load_per_edge_and_second"`
	Pace     float64 `json:"ms_between_requests_with_the_revoked_key"`

	Call     distribution `json:"call"`     // of a revocation that is not waited for
	Refused  distribution `json:"refused"`  // from its answer to the first refusal on an edge: edges × revocations
	Admitted distribution `json:"admitted"` // from its answer to when the last admitted request was sent; 0: none was

	Waited      distribution `json:"waited"` // the call with ?wait=
	Confirmed   spread       `json:"confirmed"`
	Unconfirmed int          `json:"calls_not_confirmed_by_all"`
	After       answers      `json:"sent_after_the_confirmation"`

	Load answers `json:"load"`

	NodeMemory float64 `json:"node_resident_bytes"` // -1: unknown
	EdgeMemory *spread `json:"edge_resident_mib"`
	GOGC       string  `json:"edge_gogc"`
	GOMEMLIMIT string  `json:"edge_gomemlimit"`
}

func (r *revocationResult) title() string {
	return fmt.Sprintf("revocations, one after the other, each of a key that all %d edges (a process each) have in "+
		"their caches; on each edge %.0f requests a second with other keys", r.Edges, r.LoadRate)
}

func (r *revocationResult) table(line func(string, ...any)) {
	line("\t" + distributionColumns + "goal p99\t")
	line("the call, without wait\t%s\t", r.Call.columns())
	line("from its answer to the first refusal, each edge and revocation\t%s≤ 50\t", r.Refused.columns())
	line("from its answer to when the last admitted request was sent\t%s\t", r.Admitted.columns())
	line("the call with ?wait=%s\t%s\t", waitForEdges, r.Waited.columns())
	line("")
	line("Talos-Confirmed, median of the calls\t%s\t", around(&r.Confirmed, 0))
	line("calls that not all edges confirmed in time\t%d\t", r.Unconfirmed)
	line("requests sent after a confirmed answer: admitted\t%d\tmust be 0\t", r.After.Good)
	line("refused with 401\t%d\t", r.After.Refused)
	line("503 or another answer\t%d\t", r.After.Unavailable+r.After.Other)
	line("requests of the load: admitted\t%d\t", r.Load.Good)
	line("not admitted\t%d\tmust be 0\t", r.Load.Refused+r.Load.Unavailable+r.Load.Other)
	line("")
	line("resident memory, the node\t%s MiB\t", mebi(r.NodeMemory))
	line("resident memory, an edge (GOGC %s, GOMEMLIMIT %s)\t%s MiB\t", r.GOGC, r.GOMEMLIMIT, around(r.EdgeMemory, 1))
	line("")
	line("An edge is asked every %.1f ms until it refuses, so a refusal is seen up to that much later.", r.Pace)
}

// wrong reports a revoked key that was admitted after its revocation was confirmed, a confirmation that lacks an edge,
// and a good key that was not admitted.
func (r *revocationResult) wrong() (err error) {
	if r.After.Good > 0 {
		err = fmt.Errorf("%d requests with a revoked key, sent after its confirmation, were admitted", r.After.Good)
	}
	if r.Unconfirmed == 0 && (r.Confirmed.Q1 != float64(r.Edges) || r.Confirmed.Q3 != float64(r.Edges)) {
		err = errors.Join(err, fmt.Errorf("a call says that all have confirmed, and they are not %d edges", r.Edges))
	}
	if n := r.Load.Refused + r.Load.Unavailable + r.Load.Other; n > 0 {
		err = errors.Join(err, fmt.Errorf("%d requests of the load with good keys were not admitted", n))
	}
	return err
}

// revocations revokes keys that all edges have cached, first without waiting for the edges and then with it.
func (f *feedBench) revocations(ctx context.Context) (section, error) {
	node, err := f.feedNode(ctx, "node")
	if err != nil {
		return nil, err
	}
	defer node.stop()
	if err := node.issue(ctx, f.sizes.keys); err != nil {
		return nil, err
	}
	if err := node.sane(ctx); err != nil {
		return nil, err
	}
	edges, err := f.following(ctx, node, f.feed.edges)
	defer func() { stopAll(edges...) }()
	if err != nil {
		return nil, err
	}
	found := &revocationResult{
		Edges: len(edges), LoadRate: float64(time.Second) / float64(f.sizes.pace),
		Pace: milliseconds(probePace(len(edges))),
	}
	load := startLoad(ctx, edges, node.credentials, f.sizes.pace)
	err = found.measure(ctx, node, edges, f.feed.revocations)
	found.Load = load.end()
	if err != nil {
		return nil, err
	}
	err = found.weigh(ctx, node, edges)
	return found, err
}

// measure makes n revocations of each kind.
func (r *revocationResult) measure(ctx context.Context, node *proxy, edges []*proxy, n int) error {
	probes := make([]*client, len(edges))
	for i, p := range edges {
		probes[i] = &client{addr: p.addr}
	}
	defer func() {
		for _, c := range probes {
			c.close()
		}
	}()
	var calls, refused, admitted, waited []time.Duration
	var confirmed []float64
	for i := range 2 * n {
		wait := time.Duration(0)
		if i >= n {
			wait = waitForEdges
		}
		key, made, err := revokeOne(ctx, node, edges, probes, wait)
		if err != nil {
			return err
		}
		if wait == 0 {
			//nolint:contextcheck // each request has a deadline, and there are as many as refusePatience permits
			times, last, err := untilRefused(edges, probes, key.Secret, made.answered)
			if err != nil {
				return err
			}
			calls, refused = append(calls, made.took), append(refused, times...)
			admitted = append(admitted, last...)
			continue
		}
		waited, confirmed = append(waited, made.took), append(confirmed, float64(made.confirmed))
		if made.unconfirmed > 0 {
			r.Unconfirmed++
			continue
		}
		after := askAfter(probes, key.Secret) //nolint:contextcheck // each request has a deadline
		r.After.join(&after)
	}
	r.Call, r.Refused, r.Admitted = distributionOf(calls), distributionOf(refused), distributionOf(admitted)
	r.Waited, r.Confirmed = distributionOf(waited), spreadOf(confirmed)
	return nil
}

// revokeOne issues a key, lets every edge admit it, and revokes it.
func revokeOne(ctx context.Context, node *proxy, edges []*proxy, probes []*client, wait time.Duration) (
	key issuedKey, made change, err error,
) {
	if key, err = node.issueOne(ctx, "to be revoked"); err != nil {
		return key, made, node.failure(err)
	}
	admitted := make([]error, len(probes))
	onEach(probes, func(i int, c *client) { //nolint:contextcheck // each request has a deadline
		// Twice: the first request fills the cache.
		for range 2 {
			status, err := exchange(c, requestFor(c.addr, key.Secret))
			if err != nil || status != http.StatusOK {
				admitted[i] = edges[i].failure(unexpected("a key that is good", status, err))
			}
		}
	})
	if err := errors.Join(admitted...); err != nil {
		return key, made, err
	}
	if made, err = node.revoke(ctx, key.Key.ID, wait); err != nil {
		err = node.failure(err)
	}
	return key, made, err
}

// unexpected is the error of an answer that should have been another one.
func unexpected(what string, status int, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: status %d", what, status)
}

// onEach does something on all edges at once, and returns when it is done on all.
func onEach(probes []*client, do func(i int, c *client)) {
	var all sync.WaitGroup
	for i, c := range probes {
		all.Go(func() { do(i, c) })
	}
	all.Wait()
}

// probePace is the time between two requests with the revoked key on one of n edges.
func probePace(n int) time.Duration {
	return max(time.Duration(n)*time.Second/probesASecond, time.Millisecond)
}

// untilRefused asks each edge until it refuses a key. It returns how long after a moment that was seen, and how long
// after it the last request was sent that was admitted, if any was.
func untilRefused(edges []*proxy, probes []*client, credential string, from time.Time) (
	times, admitted []time.Duration, err error,
) {
	pace := probePace(len(probes))
	times, admitted = make([]time.Duration, len(probes)), make([]time.Duration, len(probes))
	errs := make([]error, len(probes))
	onEach(probes, func(i int, c *client) {
		timer := time.NewTimer(pace * time.Duration(i) / time.Duration(len(probes)))
		defer timer.Stop()
		request := requestFor(c.addr, credential)
		for {
			<-timer.C
			sent := time.Since(from)
			status, err := exchange(c, request)
			times[i] = time.Since(from)
			switch {
			case status == http.StatusUnauthorized && err == nil:
				return
			case status == http.StatusOK && err == nil:
				admitted[i] = sent
			}
			if err != nil || times[i] > refusePatience {
				errs[i] = edges[i].failure(unexpected("a revoked key after "+times[i].String(), status, err))
				return
			}
			timer.Reset(pace)
		}
	})
	return times, admitted, errors.Join(errs...)
}

// askAfter sends requests with a key to each edge, at once.
func askAfter(probes []*client, credential string) (sum answers) {
	each := make([]answers, len(probes))
	onEach(probes, func(i int, c *client) {
		request := requestFor(c.addr, credential)
		for range probesAfter {
			each[i].add(exchange(c, request))
		}
	})
	for i := range each {
		sum.join(&each[i])
	}
	return sum
}

// weigh reads what the processes hold.
func (r *revocationResult) weigh(ctx context.Context, node *proxy, edges []*proxy) error {
	r.NodeMemory, _ = node.resident()
	var sizes []float64
	for _, p := range edges {
		if now, _ := p.resident(); now >= 0 {
			sizes = append(sizes, now/(1<<20))
		}
	}
	r.EdgeMemory = known(sizes)
	set, err := edges[0].collector(ctx)
	if err != nil {
		return edges[0].failure(err)
	}
	r.GOGC, r.GOMEMLIMIT = percent(set.gogc), mebibytes(set.limit)
	return nil
}

// A load is light load on edges that goes on while something else is measured.
type load struct {
	stop    context.CancelFunc
	workers sync.WaitGroup
	each    []answers
}

// startLoad sends each edge a request every pace, every second one of them with the same key. The caller calls end.
func startLoad(ctx context.Context, edges []*proxy, credentials []string, pace time.Duration) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{stop: stop, each: make([]answers, len(edges))}
	begin := time.Now()
	for i, p := range edges {
		l.workers.Go(func() {
			c := &client{addr: p.addr}
			defer c.close()
			next := begin.Add(pace * time.Duration(i) / time.Duration(len(edges)))
			for n := 0; until(ctx, next) == nil; n++ {
				credential := credentials[0]
				if n%2 == 1 {
					credential = credentials[n/2%len(credentials)]
				}
				l.each[i].add(exchange(c, requestFor(c.addr, credential))) //nolint:contextcheck // it has a deadline
				next = next.Add(pace)
				if now := time.Now(); next.Before(now) {
					next = now // what was missed is not made up for
				}
			}
		})
	}
	return l
}

// end stops the load, and returns what came of it.
func (l *load) end() (sum answers) {
	l.stop()
	l.workers.Wait()
	for i := range l.each {
		sum.join(&l.each[i])
	}
	return sum
}
