package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talos-edge/talos-edge/adminapi/upstream"
)

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
		upstreamCalls.WithLabelValues(string(result)) // shown from the beginning, with zero
	}
	for _, c := range upstreamCollectors {
		c.Collect(ch)
	}
	gauge(ch, upstreamQueueDesc, float64(n.verifier.Stats().Waiting))
	gauge(ch, breakerDesc, breakerState(n.upstream.Breakers()))
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
