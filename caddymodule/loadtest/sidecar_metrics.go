package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Metrics that the sections read, by their names in Prometheus' text format.
const (
	metricBatches = "talos_upstream_batch_size_count" // calls with look-ups
	metricAsked   = "talos_upstream_batch_size_sum"   // credentials in them
	metricCalls   = "talos_upstream_requests_total"
	metricRefused = `talos_upstream_requests_total{result="refused"}` // not sent
	metricOK      = `talos_upstream_requests_total{result="ok"}`
	metricStale   = `talos_cache_requests_total{result="stale"}`
	metricQueue   = "talos_upstream_queue"
	metricWorkers = "go_goroutines"
	metricHeap    = "go_memstats_heap_inuse_bytes"
	metricStacks  = "go_memstats_stack_inuse_bytes"
)

// A reading is the values of a proxy's metrics, each under its name with labels, and all of one name summed under the
// name alone.
type reading map[string]float64

// read asks a proxy for its metrics.
func (p *proxy) read(ctx context.Context) (reading, error) {
	status, body, err := get(ctx, loopback, "http://"+p.metrics+"/", "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("metrics: status %d", status)
	}
	if err != nil {
		return nil, err
	}
	return parseMetrics(string(body))
}

// parseMetrics reads Prometheus' text format, as far as it is without timestamps.
func parseMetrics(text string) (reading, error) {
	r := make(reading)
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if at < 0 || err != nil {
			return nil, fmt.Errorf("metrics: cannot read %q", line)
		}
		name := strings.TrimSpace(line[:at])
		if alone, _, labeled := strings.Cut(name, "{"); labeled {
			r[alone] += value
		}
		r[name] += value
	}
	return r, lines.Err()
}

// since is how much the values have grown.
func (r reading) since(earlier reading) reading {
	grown := make(reading, len(r))
	for name, value := range r {
		grown[name] = value - earlier[name]
	}
	return grown
}

// sent is how many calls of the upstream there were that were not held back.
func (r reading) sent() float64 { return r[metricCalls] - r[metricRefused] }
