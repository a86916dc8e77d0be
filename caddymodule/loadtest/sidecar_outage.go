package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The lifetimes of verdicts under an outage: short, so that they end within it.
const (
	outageTTL   = time.Second
	outageStale = 8 * time.Second
)

// An outageSecond is a second as callers and as the upstream saw it.
type outageSecond struct {
	second
	Calls  float64 `json:"calls_sent"`
	Failed float64 `json:"calls_failed"`
	Held   float64 `json:"not_sent"`
	Asked  float64 `json:"keys_asked"`
	Stale  float64 `json:"served_stale"`
}

type outageResult struct {
	Seconds []outageSecond `json:"seconds"`
	Down    float64        `json:"down_at_s"`
	Started float64        `json:"started_at_s"`
	Up      float64        `json:"up_at_s"`
	Keys    int            `json:"keys"`
}

func (o *outageResult) title() string {
	return fmt.Sprintf("an outage, second by second: upstream killed at %.2f s, started at %.2f s, up at %.2f s; "+
		"ttl %s, negative_ttl 1s, stale_if_error %s", o.Down, o.Started, o.Up, outageTTL, outageStale)
}

func (o *outageResult) table(line func(string, ...any)) {
	line("\t%d known keys\t\t\t\tunknown keys\t\t\t\tall\tupstream calls\t\t\tkeys\tserved\t", o.Keys)
	line("s\t200\t401\t503\tother\t200\t401\t503\tother\tp99 ms\tsent\tfailed\theld back\tasked\tstale\t")
	for i, s := range o.Seconds {
		line("%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t", i,
			s.Known.Good, s.Known.Refused, s.Known.Unavailable, s.Known.Other,
			s.Unknown.Good, s.Unknown.Refused, s.Unknown.Unavailable, s.Unknown.Other,
			milliseconds(s.P99), s.Calls, s.Failed, s.Held, s.Asked, s.Stale)
	}
	line("")
	line("held back: look-ups that the breaker answered; a call that fails is one look-up or a batch of them")
}

// wrong tells of a good key that was refused, of an unknown one that was let in, and of answers that are none.
func (o *outageResult) wrong() error {
	var known, unknown answers
	for i := range o.Seconds {
		known.join(&o.Seconds[i].Known)
		unknown.join(&o.Seconds[i].Unknown)
	}
	return errors.Join(known.mistaken(true), unknown.mistaken(false))
}

// mistaken tells of answers that are wrong for credentials that are all good, or all unknown.
func (a *answers) mistaken(good bool) error {
	wrong, what := a.Good, "unknown credentials were let in"
	if good {
		wrong, what = a.Refused, "good credentials were refused"
	}
	switch {
	case wrong > 0:
		return fmt.Errorf("%d %s", wrong, what)
	case a.Other > 0:
		return fmt.Errorf("%d requests had another answer than 200, 401 and 503, or none", a.Other)
	default:
		return nil
	}
}

// outage loads an edge while its upstream is killed and comes back.
func (e *edgeBench) outage(ctx context.Context) (section, error) {
	size := e.sizes.outage
	keys := e.node.credentials[:min(size.keys, len(e.node.credentials))]
	p, err := e.edge(ctx, "outage", "TTL", outageTTL.String(), "NEGATIVE_TTL", "1s", "STALE", outageStale.String())
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := e.aim("outage", p.addr, keys, false); err != nil {
		return nil, err
	}
	if _, err := e.each("outage", size.conns, 0); err != nil {
		return nil, p.failure(err)
	}
	begin := time.Now().Add(200 * time.Millisecond)
	loaded := make(chan error, 1)
	var did tally
	go func() {
		var err error
		did, err = e.do(job{
			Op: opTimeline, Target: "outage", Conns: size.conns, At: begin, Slot: size.length, Pace: size.pace,
		})
		loaded <- err
	}()
	found := &outageResult{Keys: len(keys)}
	readings, err := e.interrupt(ctx, p, begin, found)
	if err != nil {
		e.generator.stop() // it is not waited for: the section has failed
	}
	if err := errors.Join(err, <-loaded); err != nil {
		return nil, err
	}
	for i, s := range did.Seconds {
		grown := readings[i+1].since(readings[i])
		found.Seconds = append(found.Seconds, outageSecond{
			second: s, Calls: grown.sent(), Failed: grown.sent() - grown[metricOK], Held: grown[metricRefused],
			Asked: grown[metricAsked], Stale: grown[metricStale],
		})
	}
	return found, nil
}

// interrupt kills the upstream with its link and starts both again, and reads the edge's metrics at each second.
func (e *edgeBench) interrupt(ctx context.Context, p *proxy, begin time.Time, found *outageResult) ([]reading, error) {
	size := e.sizes.outage
	events := []struct {
		at time.Duration
		do func() error
	}{
		{size.down, func() error {
			found.Down = time.Since(begin).Seconds()
			return errors.Join(e.link.kill(), e.node.kill())
		}},
		{size.up, func() error { return e.revive(ctx, begin, found) }},
	}
	var readings []reading
	for i := range int(size.length/time.Second) + 1 {
		at := time.Duration(i) * time.Second
		if err := until(ctx, begin.Add(at)); err != nil {
			return nil, err
		}
		r, err := p.read(ctx)
		if err != nil {
			return nil, p.failure(err)
		}
		readings = append(readings, r)
		if len(events) > 0 && at >= events[0].at {
			if err := events[0].do(); err != nil {
				return nil, err
			}
			events = events[1:]
		}
	}
	return readings, nil
}

// revive starts the upstream and its link where they were.
func (e *edgeBench) revive(ctx context.Context, begin time.Time, found *outageResult) error {
	found.Started = time.Since(begin).Seconds()
	if err := e.node.start(ctx); err != nil {
		return err
	}
	e.children = append(e.children, e.node.process)
	if err := e.connect(ctx, e.sizes.roundTrip); err != nil {
		return err
	}
	found.Up = time.Since(begin).Seconds()
	return nil
}

// until waits for a moment.
func until(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
