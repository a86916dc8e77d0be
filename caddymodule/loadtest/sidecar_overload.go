package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// An overloadRow is an edge that is offered more look-ups than its upstream can answer.
type overloadRow struct {
	Far      float64 `json:"round_trip_ms"`
	Case     string  `json:"case"`
	Capacity float64 `json:"capacity_per_second"` // 0: the upstream hangs
	Seconds  float64 `json:"seconds"`
	Calls    float64 `json:"upstream_calls"` // the warm-up included, like Asked
	Asked    float64 `json:"keys_asked"`
	Unknown  flood   `json:"unknown"`
	Known    flood   `json:"known"`
}

type overloads struct {
	Rows []overloadRow `json:"rows"`
}

func (*overloads) title() string {
	return "more unknown keys than the upstream can answer; ttl 5 s, stale_if_error 1 s (5 m where the upstream hangs)"
}

func (o *overloads) table(line func(string, ...any)) {
	line("away\tcase\tcan answer/s\tkeys a call\toffered/s\tanswered/s\t503/s\tnot sent/s\tp50 ms\tp99 ms\t" +
		"503 after ms (p99)\tknown: 200\t503\tp50 ms\tp99 ms\t")
	for _, r := range o.Rows {
		each := func(n uint64) string { return fmt.Sprintf("%.0f", float64(n)/r.Seconds) }
		u, k := &r.Unknown, &r.Known
		line("%.0f ms\t%s\t%.0f\t%.1f\t%s\t%s\t%s\t%s\t%.0f\t%.0f\t%.0f\t%d\t%d\t%.1f\t%.0f\t",
			r.Far, r.Case, r.Capacity, r.Asked/max(r.Calls, 1),
			each(u.Offered), each(u.Refused), each(u.Unavailable+u.Other), each(u.Unsent),
			milliseconds(u.P50), milliseconds(u.P99), milliseconds(u.Waited),
			k.Good, k.Unavailable+k.Other, milliseconds(k.P50), milliseconds(k.P99))
	}
}

func (o *overloads) wrong() (err error) {
	for _, r := range o.Rows {
		err = errors.Join(err, r.Known.mistaken(true), r.Unknown.mistaken(false))
	}
	return err
}

// The cases of an overload.
const (
	overloadAlone = "unknown keys alone"
	overloadKnown = "known keys beside"
	overloadHung  = "the upstream hangs"
)

// overload floods an edge with keys that nobody has issued, at each distance in each case.
func (e *edgeBench) overload(ctx context.Context) (section, error) {
	found := new(overloads)
	for _, far := range e.sizes.overload.far {
		for _, name := range []string{overloadAlone, overloadKnown, overloadHung} {
			row, err := e.overloadRow(ctx, far, name)
			if err != nil {
				return nil, fmt.Errorf("%s away, %s: %w", far, name, err)
			}
			found.Rows = append(found.Rows, row)
		}
	}
	return found, e.connect(ctx, e.sizes.roundTrip)
}

// overloadRow is one case. One call is out at a time, so that a small machine can offer more than the upstream answers.
func (e *edgeBench) overloadRow(ctx context.Context, far time.Duration, name string) (overloadRow, error) {
	size := e.sizes.overload
	row := overloadRow{Far: milliseconds(far), Case: name, Seconds: size.length.Seconds()}
	if err := e.connect(ctx, far); err != nil {
		return row, err
	}
	stale := "1s" // so that known keys depend on look-ups
	if name == overloadHung {
		stale = "5m"
	}
	p, err := e.edge(ctx, "overload", "IN_FLIGHT", "1", "TTL", "5s", "STALE", stale)
	if err != nil {
		return row, err
	}
	defer p.stop()
	keys := e.node.credentials[:min(size.keys, len(e.node.credentials))]
	if err := e.aim("overload", p.addr, keys, false); err != nil {
		return row, err
	}
	if _, err := e.each("overload", 32, 0); err != nil {
		return row, p.failure(err)
	}
	row.Capacity = 100 / far.Seconds()
	j := job{
		Op: opFloods, Target: "overload", Rate: int(size.times * row.Capacity), KnownRate: 1,
		Warm: 3 * time.Second, Slot: size.length,
	}
	switch name {
	case overloadKnown:
		j.KnownRate = size.known
	case overloadHung:
		j.KnownRate, row.Capacity = size.known, 0
		if err := e.node.hang(true); err != nil {
			return row, err
		}
		defer func() { _ = e.node.hang(false) }() // it is killed at the end in any case
	}
	before, err := p.read(ctx)
	if err != nil {
		return row, p.failure(err)
	}
	did, err := e.do(j)
	if err != nil {
		return row, p.failure(err)
	}
	after, err := p.read(ctx)
	if err != nil {
		return row, p.failure(err)
	}
	grown := after.since(before)
	row.Calls, row.Asked = grown.sent(), grown[metricAsked]
	row.Unknown, row.Known = *did.Unknown, *did.Known
	return row, nil
}
