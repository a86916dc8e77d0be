package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A readersResult is what many edges cost a node.
type readersResult struct {
	Readers int     `json:"readers"`
	Wanted  int     `json:"wanted"` // more than Readers where a process may not open so many files
	Phase   float64 `json:"phase_s"`
	Changes int     `json:"changes"` // in the second phase, one a second

	MemoryBefore float64 `json:"node_resident_bytes_before"` // -1: unknown
	MemoryIdle   float64 `json:"node_resident_bytes_idle"`
	MemoryBusy   float64 `json:"node_resident_bytes_with_changes"`
	MemoryMost   float64 `json:"node_resident_bytes_at_most"`

	NoneCPU float64 `json:"node_cpu_ms_per_second_without_edges"` // -1: unknown
	IdleCPU float64 `json:"node_cpu_ms_per_second_idle"`
	BusyCPU float64 `json:"node_cpu_ms_per_second_with_changes"`

	Waited      distribution `json:"waited"`
	Confirmed   spread       `json:"confirmed"`
	Unconfirmed int          `json:"calls_not_confirmed_by_all"`
}

func (r *readersResult) title() string {
	return fmt.Sprintf("a node and %d edges as blocking queries of one process (%.0f s each: without edges, idle, "+
		"with a change a second)", r.Readers, r.Phase)
}

func (r *readersResult) table(line func(string, ...any)) {
	line("the node\twithout edges\tidle\ta change/s\teach edge idle\teach edge and change\t" +
		"for 10,000 edges: idle\ta change/s\t")
	perEdge := func(more float64) float64 { return more / float64(r.Readers) }
	if r.NoneCPU < 0 {
		line("CPU\tn/a\t")
	} else {
		idle, each := perEdge(r.IdleCPU-r.NoneCPU), 0.0
		if r.Changes > 0 {
			each = perEdge(r.BusyCPU-r.IdleCPU) * r.Phase / float64(r.Changes)
		}
		line("CPU ms/s\t%.1f\t%.1f\t%.1f\t%.4f\t%.4f\t%.0f\t%.0f\t", r.NoneCPU, r.IdleCPU, r.BusyCPU, idle, each,
			idle*10_000, (idle+each)*10_000)
	}
	if r.MemoryBefore < 0 {
		line("resident memory\tn/a\t")
	} else {
		idle, busy := perEdge(r.MemoryIdle-r.MemoryBefore), perEdge(r.MemoryBusy-r.MemoryBefore)
		line("resident MiB (at most %s)\t%s\t%s\t%s\t%.4f\t%.4f (in all)\t%.0f\t%.0f\t", mebi(r.MemoryMost),
			mebi(r.MemoryBefore), mebi(r.MemoryIdle), mebi(r.MemoryBusy), idle/(1<<20), busy/(1<<20),
			idle*10_000/(1<<20), busy*10_000/(1<<20))
	}
	line("")
	line("a revocation with ?wait=%s\t"+distributionColumns, waitForEdges)
	line("\t%s", r.Waited.columns())
	line("Talos-Confirmed, median of the calls\t%s\t", around(&r.Confirmed, 0))
	line("calls that not all edges confirmed in time\t%d\t", r.Unconfirmed)
	if r.Readers < r.Wanted {
		line("%d edges were asked for; a process here may not open so many files", r.Wanted)
	}
}

// wrong reports a call that says that all have confirmed, and does not count all.
func (r *readersResult) wrong() error {
	if r.Unconfirmed == 0 && (r.Confirmed.Q1 != float64(r.Readers) || r.Confirmed.Q3 != float64(r.Readers)) {
		return fmt.Errorf("a call says that all have confirmed, and they are not %d edges", r.Readers)
	}
	return nil
}

// readers lets many edges follow one node.
func (f *feedBench) readers(ctx context.Context) (section, error) {
	r := &readersResult{Readers: f.feed.readers, Wanted: f.feed.readers, Phase: f.sizes.phase.Seconds()}
	if files, ok := openFiles(); ok {
		r.Readers = fits(r.Wanted, files)
	}
	node, err := f.feedNode(ctx, "node")
	if err != nil {
		return nil, err
	}
	defer node.stop()
	all, err := newReaders(node, r.Readers)
	if err != nil {
		return nil, err
	}
	err = r.measure(ctx, f, node, all)
	if err := errors.Join(err, all.end()); err != nil {
		return nil, node.failure(err)
	}
	return r, nil
}

// measure goes through the phases.
func (r *readersResult) measure(ctx context.Context, f *feedBench, node *proxy, all *readers) (err error) {
	nothing := func(int) error { return nil }
	if r.NoneCPU, err = f.phase(ctx, node, nothing); err != nil {
		return err
	}
	r.MemoryBefore, _ = node.resident()
	all.begin(ctx, r.Readers, "reader")
	if err := node.awaitEdges(ctx, r.Readers); err != nil {
		return errors.Join(err, all.failed())
	}
	if r.IdleCPU, err = f.phase(ctx, node, nothing); err != nil {
		return err
	}
	r.MemoryIdle, _ = node.resident()
	r.BusyCPU, err = f.phase(ctx, node, func(n int) error {
		r.Changes++
		_, err := node.issueOne(ctx, fmt.Sprintf("change %d", n))
		return err
	})
	if err != nil {
		return err
	}
	r.MemoryBusy, _ = node.resident()
	var waited []time.Duration
	var confirmed []float64
	for range f.sizes.waits {
		key, err := node.issueOne(ctx, "to be revoked")
		if err != nil {
			return err
		}
		if err := node.awaitEdges(ctx, r.Readers); err != nil {
			return errors.Join(err, all.failed())
		}
		made, err := node.revoke(ctx, key.Key.ID, waitForEdges)
		if err != nil {
			return err
		}
		if made.unconfirmed > 0 {
			r.Unconfirmed++
		}
		waited, confirmed = append(waited, made.took), append(confirmed, float64(made.confirmed))
	}
	r.Waited, r.Confirmed = distributionOf(waited), spreadOf(confirmed)
	_, r.MemoryMost = node.resident()
	return all.failed()
}

// phase does something each second, and returns the processor time of a node in ms a second, or -1 where it cannot be
// read.
func (f *feedBench) phase(ctx context.Context, node *proxy, do func(n int) error) (float64, error) {
	began := time.Now()
	before, ok := cpuTime(node.pid)
	for n := range int(f.sizes.phase / time.Second) {
		if err := do(n); err != nil {
			return 0, err
		}
		if err := until(ctx, began.Add(time.Duration(n+1)*time.Second)); err != nil {
			return 0, err
		}
	}
	after, ok2 := cpuTime(node.pid)
	if !ok || !ok2 {
		return -1, nil
	}
	return milliseconds(after-before) / time.Since(began).Seconds(), nil
}
