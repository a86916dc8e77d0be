package node

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talos-edge/talos-edge/adminapi/upstream"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/core/verify"
)

var (
	cacheRequestsDesc = prometheus.NewDesc("talos_cache_requests_total",
		"Credentials that were verified, by where the verdict came from.", []string{"result"}, nil)
	cacheEntriesDesc = prometheus.NewDesc("talos_cache_entries",
		"Verdicts in the cache.", nil, nil)
	cacheBytesDesc = prometheus.NewDesc("talos_cache_bytes",
		"Memory of the cache.", nil, nil)
	feedPositionDesc = prometheus.NewDesc("talos_feed_position",
		"Position in the feed of changes up to which this node knows every change.", nil, nil)
	feedLagDesc = prometheus.NewDesc("talos_feed_lag_seconds",
		"Time since this node last knew every change.", nil, nil)
	edgesDesc = prometheus.NewDesc("talos_edges",
		"Edges that read the feed of changes from this node, and were heard of within the last minute.", nil, nil)
	keysChangedDesc = prometheus.NewDesc("talos_keys_changed_total",
		"Changes of keys that this node has seen.", []string{"kind", "network"}, nil)
)

// limiterFailures counts for all nodes of the process.
var limiterFailures = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "talos_limiter_fail_open_total",
	Help: "Uses of keys that were let through although Redis could not count them.",
})

// edgeConfirmSeconds counts for all nodes of the process.
var edgeConfirmSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    "talos_edge_confirm_seconds",
	Help:    "Time from a change until an edge acknowledged it.",
	Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
})

// cacheResults are the results that are told apart: a verdict that needed no look-up did not use the cache.
var cacheResults = [...]verify.Status{verify.Hit, verify.Negative, verify.Stale, verify.Coalesced, verify.Miss}

// collector has one configuration's metrics for Caddy's registry, which is a new one for each configuration. Counters
// are the process', so that a reload does not set them back; gauges are those of the configuration's node.
type collector struct{ app *App }

// Describe names the metrics.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		cacheRequestsDesc, cacheEntriesDesc, cacheBytesDesc, feedPositionDesc, feedLagDesc, keysChangedDesc,
		upstreamQueueDesc, breakerDesc, edgesDesc, webhookLagDesc,
	} {
		ch <- d
	}
	edgeConfirmSeconds.Describe(ch)
	limiterFailures.Describe(ch)
	webhookDeliveries.Describe(ch)
	selfRevocationFailures.Describe(ch)
	for _, c := range upstreamCollectors {
		c.Describe(ch)
	}
}

// Collect reads the metrics.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	counter := func(desc *prometheus.Desc, value uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
	}
	limiterFailures.Collect(ch)
	webhookDeliveries.Collect(ch)
	collectSelfRevocations(ch)
	totals := inUse.totals()
	for _, s := range cacheResults {
		counter(cacheRequestsDesc, totals.requests[s], s.String())
	}
	delete(totals.changed, core.SystemNetwork)
	for network, changed := range totals.changed {
		for _, k := range feed.EventKinds {
			counter(keysChangedDesc, changed[k], k.String(), NetworkLabel(network))
		}
	}
	n := c.app.node.Load()
	if n == nil {
		return
	}
	stats := n.Verifier().Stats()
	gauge(ch, cacheEntriesDesc, float64(stats.Entries))
	gauge(ch, cacheBytesDesc, float64(stats.Bytes))
	n.collect(ch)
}

func gauge(ch chan<- prometheus.Metric, desc *prometheus.Desc, value float64) {
	ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
}

// NetworkLabel is the value of the label network of metrics: the id, or empty for the network of a node that has only
// one, for which the label is as good as not there.
func NetworkLabel(network core.NetworkID) string {
	if network == (core.NetworkID{}) {
		return ""
	}
	return network.String()
}

// counts are counters of nodes and stores.
type counts struct {
	requests [len(verify.Statuses)]uint64
	changed  map[core.NetworkID]feed.Counts
}

func (c *counts) addNode(n *pooledNode) {
	stats := n.Verifier().Stats()
	for i := range c.requests {
		c.requests[i] += stats.Requests[i]
	}
}

func (c *counts) addStore(s *pooledStore) {
	for network, changed := range s.Positions().ChangedIn() {
		sum := c.changed[network]
		for i, n := range changed {
			sum[i] += n
		}
		c.changed[network] = sum
	}
}

// inUse are the nodes and stores that are open, and the counts of those that were closed.
var inUse = registry{
	nodes: map[*pooledNode]struct{}{}, stores: map[*pooledStore]struct{}{},
	past: counts{changed: map[core.NetworkID]feed.Counts{{}: {}}}, // present from the start, with zero
}

type registry struct {
	mu     sync.Mutex
	nodes  map[*pooledNode]struct{}
	stores map[*pooledStore]struct{}
	past   counts
}

func (l *registry) addNode(n *pooledNode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes[n] = struct{}{}
}

func (l *registry) removeNode(n *pooledNode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.past.addNode(n)
	delete(l.nodes, n)
}

func (l *registry) addStore(s *pooledStore) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stores[s] = struct{}{}
}

func (l *registry) removeStore(s *pooledStore) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.past.addStore(s)
	delete(l.stores, s)
}

// totals are the counts of everything that is or was open.
func (l *registry) totals() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	total := l.past
	total.changed = maps.Clone(l.past.changed)
	for n := range l.nodes {
		total.addNode(n)
	}
	for s := range l.stores {
		total.addStore(s)
	}
	return total
}

// What the upstreams of the process did, under whatever configuration.
var (
	upstreamCalls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "talos_upstream_requests_total",
		Help: "Calls of the upstream that this node made for itself, by how they ended.",
	}, []string{"result"})
	upstreamBatches = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "talos_upstream_batch_size", Help: "Credentials in a call with look-ups.",
		Buckets: []float64{1, 2, 5, 10, 20, 50, 100},
	})
	upstreamSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "talos_upstream_seconds", Help: "Time of a call that was sent.",
		Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
	})
	upstreamCollectors = []prometheus.Collector{upstreamCalls, upstreamBatches, upstreamSeconds}
)

// What the upstream of one configuration is doing.
var (
	upstreamQueueDesc = prometheus.NewDesc("talos_upstream_queue",
		"Look-ups that wait for their turn.", nil, nil)
	breakerDesc = prometheus.NewDesc("talos_breaker_state",
		"Whether the upstream is asked: 0 yes, 1 by probes, 2 no. Of several addresses the best counts.", nil, nil)
)

// upstreamObserver counts the calls of upstreams.
type upstreamObserver struct{}

// Called counts a call.
func (upstreamObserver) Called(c upstream.Call) {
	upstreamCalls.WithLabelValues(string(c.Result)).Inc()
	if c.Result == upstream.ResultRefused {
		return // it was not sent
	}
	upstreamSeconds.Observe(c.Took.Seconds())
	if c.LookUps > 0 {
		upstreamBatches.Observe(float64(c.LookUps))
	}
}

func (n *Sidecar) collect(ch chan<- prometheus.Metric) {
	for _, result := range upstream.Results {
		upstreamCalls.WithLabelValues(string(result)) // present from the start, with zero
	}
	for _, c := range upstreamCollectors {
		c.Collect(ch)
	}
	gauge(ch, upstreamQueueDesc, float64(n.verifier.Stats().Waiting))
	gauge(ch, breakerDesc, breakerState(n.upstream.Breakers()))
	if state := n.upstream.Feed(); state.Following {
		gauge(ch, feedPositionDesc, float64(state.Position))
		gauge(ch, feedLagDesc, max(0, time.Since(state.CompleteAt).Seconds()))
	}
}

// breakerState is the state of the best address.
func breakerState(addresses []upstream.BreakerStats) float64 {
	best := 2.0
	for _, a := range addresses {
		switch a.State {
		case "closed":
			return 0
		case "half-open":
			best = 1
		}
	}
	return best
}

// Interface guard.
var _ upstream.Observer = upstreamObserver{}
