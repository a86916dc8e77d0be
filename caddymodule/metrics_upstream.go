package caddymodule

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talos-edge/talos-edge/adminapi/upstream"
)

var (
	upstreamRequestsDesc = prometheus.NewDesc("talos_upstream_requests_total",
		"Calls of the upstream that this node made for itself, by how they ended.", []string{"result"}, nil)
	upstreamBatchDesc = prometheus.NewDesc("talos_upstream_batch_size",
		"Credentials in a call with look-ups.", nil, nil)
	upstreamSecondsDesc = prometheus.NewDesc("talos_upstream_seconds",
		"Time of a call that was sent.", nil, nil)
	upstreamQueueDesc = prometheus.NewDesc("talos_upstream_queue",
		"Look-ups that wait for their turn.", nil, nil)
	breakerDesc = prometheus.NewDesc("talos_breaker_state",
		"Whether the upstream is asked: 0 yes, 1 by probes, 2 no. Of several addresses the best counts.", nil, nil)
)

// upstreamDescs are the metrics that only a sidecar has.
var upstreamDescs = []*prometheus.Desc{
	upstreamRequestsDesc, upstreamBatchDesc, upstreamSecondsDesc, upstreamQueueDesc, breakerDesc,
}

// upstreamMeter counts the calls of all upstreams of the process.
type upstreamMeter struct{}

// The counters of the process, whatever configuration the calls were made under.
var (
	upstreamCalls   [len(upstream.Results)]atomic.Uint64
	upstreamBatches = newHistogram(1, 2, 5, 10, 20, 50, 100)
	upstreamSeconds = newHistogram(.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5)
)

// Called counts a call.
func (upstreamMeter) Called(c upstream.Call) {
	if i := slices.Index(upstream.Results[:], c.Result); i >= 0 {
		upstreamCalls[i].Add(1)
	}
	if c.Result == upstream.ResultRefused {
		return // it was not sent
	}
	upstreamSeconds.observe(c.Took.Seconds())
	if c.Kind == upstream.KindBatch {
		upstreamBatches.observe(float64(c.Items))
	}
}

// collectUpstream reads the metrics of a sidecar.
func collectUpstream(ch chan<- prometheus.Metric, n *node) {
	for i, result := range upstream.Results {
		ch <- prometheus.MustNewConstMetric(upstreamRequestsDesc, prometheus.CounterValue,
			float64(upstreamCalls[i].Load()), string(result))
	}
	ch <- upstreamBatches.metric(upstreamBatchDesc)
	ch <- upstreamSeconds.metric(upstreamSecondsDesc)
	ch <- prometheus.MustNewConstMetric(upstreamQueueDesc, prometheus.GaugeValue, float64(n.verifier.Stats().Waiting))
	ch <- prometheus.MustNewConstMetric(breakerDesc, prometheus.GaugeValue, breakerState(n.upstream.Breakers()))
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

// histogram counts values by their size, in the manner of Prometheus.
type histogram struct {
	bounds []float64
	counts []atomic.Uint64 // one more than bounds
	sum    atomic.Int64    // in billionths
}

func newHistogram(bounds ...float64) *histogram {
	return &histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

func (h *histogram) observe(value float64) {
	i, _ := slices.BinarySearch(h.bounds, value)
	h.counts[i].Add(1)
	h.sum.Add(int64(value * float64(time.Second)))
}

func (h *histogram) metric(desc *prometheus.Desc) prometheus.Metric {
	buckets := make(map[float64]uint64, len(h.bounds))
	total := uint64(0)
	for i := range h.counts {
		total += h.counts[i].Load()
		if i < len(h.bounds) {
			buckets[h.bounds[i]] = total
		}
	}
	return prometheus.MustNewConstHistogram(desc, total, float64(h.sum.Load())/float64(time.Second), buckets)
}

// Interface guard.
var _ upstream.Observer = upstreamMeter{}
