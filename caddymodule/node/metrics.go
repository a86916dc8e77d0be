package node

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

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
	keysChangedDesc = prometheus.NewDesc("talos_keys_changed_total",
		"Changes of keys that this node has seen.", []string{"kind"}, nil)
)

// limiterFailures counts for all nodes of the process.
var limiterFailures = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "talos_limiter_fail_open_total",
	Help: "Uses of keys that were let through because they could not be counted.",
})

// cacheResults are the results that are told apart: a verdict that needed no look-up is of no interest to the cache.
var cacheResults = [...]verify.Status{verify.Hit, verify.Negative, verify.Stale, verify.Coalesced, verify.Miss}

// collector shows one configuration's metrics on Caddy's registry, which is a new one for each configuration. Counters
// are the process', so that a reload does not set them back; gauges are those of the configuration's node.
type collector struct{ app *App }

// Describe names the metrics.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		cacheRequestsDesc, cacheEntriesDesc, cacheBytesDesc, feedPositionDesc, feedLagDesc, keysChangedDesc,
		upstreamQueueDesc, breakerDesc,
	} {
		ch <- d
	}
	limiterFailures.Describe(ch)
	for _, c := range upstreamCollectors {
		c.Describe(ch)
	}
}

// Collect reads the metrics.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	counter := func(desc *prometheus.Desc, value uint64, label string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), label)
	}
	limiterFailures.Collect(ch)
	totals := live.totals()
	for _, s := range cacheResults {
		counter(cacheRequestsDesc, totals.requests[s], s.String())
	}
	for _, k := range feed.EventKinds {
		counter(keysChangedDesc, totals.changed[k], k.String())
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

// counts are counters of nodes and stores.
type counts struct {
	requests [len(verify.Statuses)]uint64
	changed  [len(feed.EventKinds) + 1]uint64
}

func (c *counts) addNode(n *pooledNode) {
	stats := n.Verifier().Stats()
	for i := range c.requests {
		c.requests[i] += stats.Requests[i]
	}
}

func (c *counts) addStore(s *pooledStore) {
	for _, k := range feed.EventKinds {
		c.changed[k] += s.Positions().Changed(k)
	}
}

// live are the nodes and stores that are open, and what the ones that were closed had counted.
var live = registry{nodes: map[*pooledNode]struct{}{}, stores: map[*pooledStore]struct{}{}}

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
	for n := range l.nodes {
		total.addNode(n)
	}
	for s := range l.stores {
		total.addStore(s)
	}
	return total
}
