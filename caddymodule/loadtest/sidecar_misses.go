package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"
)

// A burstRow is an edge that meets many keys for the first time, all at once.
type burstRow struct {
	Name  string  `json:"name"`
	About string  `json:"about"`
	Calls spread  `json:"upstream_calls"`
	Keys  spread  `json:"keys_a_call"`
	Rate  spread  `json:"requests_per_second"`
	P50   spread  `json:"p50_ms"`
	P99   spread  `json:"p99_ms"`
	Far   *spread `json:"upstream_cpu_us_a_key"` // null where it cannot be read
	Near  *spread `json:"edge_cpu_us_a_request"`
}

type bursts struct {
	Keys      int         `json:"keys"`
	AtOnce    int         `json:"at_once"`
	RoundTrip float64     `json:"round_trip_ms"`
	Rounds    int         `json:"rounds"`
	Rows      []*burstRow `json:"rows"`
}

func (b *bursts) title() string {
	return fmt.Sprintf("%d distinct keys unknown to the edge, %d at once, upstream %.0f ms away, median of %d rounds "+
		"(quartiles)", b.Keys, b.AtOnce, b.RoundTrip, b.Rounds)
}

func (b *bursts) table(line func(string, ...any)) {
	line("edge\tupstream calls\tkeys a call\treq/s\tp50 ms\tp99 ms\tupstream CPU µs/key\tedge CPU µs/req\t")
	for _, r := range b.Rows {
		line("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t", r.Name, around(&r.Calls, 0), around(&r.Keys, 1), around(&r.Rate, 0),
			around(&r.P50, 1), around(&r.P99, 1), around(r.Far, 0), around(r.Near, 0))
	}
	if b.Keys == fullSizes.keys {
		line("goal, batched\t≤ 160\t≥ 62\t\t\t≤ %.0f\t\t\t", 3*b.RoundTrip)
	}
	line("")
	for _, r := range b.Rows {
		line("%s: %s", r.Name, r.About)
	}
}

func (*bursts) wrong() error { return nil } // a request that failed has ended the section

// burst sends keys that edges have never seen, in rounds: with batching, and with one call for each.
func (e *edgeBench) burst(ctx context.Context) (section, error) {
	kinds := []struct{ name, about, calls string }{
		{"batched", "as we ship it: max_in_flight 2, what waits meanwhile goes together", "2"},
		{"one by one", "the same with max_in_flight " + strconv.Itoa(e.sizes.atOnce) +
			", so that nothing waits and every key is a call of its own, at once", strconv.Itoa(e.sizes.atOnce)},
	}
	found := &bursts{
		Keys: e.sizes.keys, AtOnce: e.sizes.atOnce, RoundTrip: milliseconds(e.sizes.roundTrip), Rounds: e.sizes.rounds,
	}
	samples := make([]struct{ calls, keys, rate, p50, p99, far, near []float64 }, len(kinds))
	order := make([]int, len(kinds))
	for i := range order {
		order[i] = i
	}
	// What the upstream does at first sight of a key is not what is measured.
	if err := e.aim("warm", e.node.api, e.node.credentials, true); err != nil {
		return nil, err
	}
	if _, err := e.each("warm", e.sizes.atOnce, 0); err != nil {
		return nil, err
	}
	for round := range e.sizes.rounds {
		for _, i := range rotated(order, round) {
			did, err := e.oneBurst(ctx, kinds[i].name, kinds[i].calls)
			if err != nil {
				return nil, err
			}
			s := &samples[i]
			s.calls, s.keys = append(s.calls, did.calls), append(s.keys, did.keys/did.batches)
			s.rate = append(s.rate, did.perSecond())
			s.p50, s.p99 = append(s.p50, milliseconds(did.P50)), append(s.p99, milliseconds(did.P99))
			s.far, s.near = append(s.far, did.far), append(s.near, did.near)
		}
	}
	for i, s := range samples {
		found.Rows = append(found.Rows, &burstRow{
			Name: kinds[i].name, About: kinds[i].about, Calls: spreadOf(s.calls), Keys: spreadOf(s.keys),
			Rate: spreadOf(s.rate), P50: spreadOf(s.p50), P99: spreadOf(s.p99),
			Far: known(s.far), Near: known(s.near),
		})
	}
	return found, nil
}

// burstTally is a burst with what it cost.
type burstTally struct {
	tally
	calls, batches, keys float64
	near, far            float64 // CPU time of edge and upstream, µs a request
}

func (e *edgeBench) oneBurst(ctx context.Context, name, calls string) (did burstTally, err error) {
	p, err := e.edge(ctx, name, "IN_FLIGHT", calls)
	if err != nil {
		return did, err
	}
	defer p.stop()
	if err := e.aim(name, p.addr, e.node.credentials, false); err != nil {
		return did, err
	}
	before, err := p.read(ctx)
	if err != nil {
		return did, p.failure(err)
	}
	near, ok := cpuTime(p.pid)
	far, ok2 := cpuTime(e.node.pid)
	if did.tally, err = e.each(name, e.sizes.atOnce, 0); err != nil {
		return did, p.failure(err)
	}
	nearNow, _ := cpuTime(p.pid)
	farNow, _ := cpuTime(e.node.pid)
	after, err := p.read(ctx)
	if err != nil {
		return did, p.failure(err)
	}
	grown := after.since(before)
	did.calls, did.batches, did.keys = grown.sent(), grown[metricBatches], grown[metricAsked]
	did.near, did.far = math.NaN(), math.NaN()
	if ok && ok2 {
		did.near = microseconds(nearNow-near) / float64(did.Requests)
		did.far = microseconds(farNow-far) / float64(did.Requests)
	}
	return did, nil
}

// A loneliness is what a miss takes when nobody else is there.
type loneliness struct {
	RoundTrip float64 `json:"round_trip_ms"`
	Misses    int     `json:"misses_a_round"`
	Rounds    int     `json:"rounds"`
	Bare      spread  `json:"bare_us"`
	Miss      spread  `json:"miss_us"`
	Hit       spread  `json:"hit_us"`
	Added     spread  `json:"miss_less_bare_us"`
	Look      spread  `json:"miss_less_hit_and_bare_us"`
}

func (l *loneliness) title() string {
	return fmt.Sprintf("the lonely miss: one connection, upstream %.0f ms away, p50 of %d requests, "+
		"median of %d rounds (quartiles)", l.RoundTrip, l.Misses, l.Rounds)
}

func (l *loneliness) table(line func(string, ...any)) {
	line("p50\tµs\t")
	line("the upstream asked directly, over the same link\t%s\t", around(&l.Bare, 0))
	line("a hit through the gate, to the app and back, one every %.0f ms\t%s\t", l.RoundTrip, around(&l.Hit, 0))
	line("a miss through the gate, to the app and back\t%s\t", around(&l.Miss, 0))
	line("added to the round trip, all in (miss − upstream)\t%s\t", around(&l.Added, 0))
	line("of it by the look-up (miss − upstream − hit)\t%s\t", around(&l.Look, 0))
}

func (*loneliness) wrong() error { return nil }

// lonely sends keys that the edge has never seen one after the other.
func (e *edgeBench) lonely(ctx context.Context) (section, error) {
	n := min(e.sizes.lonely, len(e.node.credentials)/e.sizes.rounds)
	found := &loneliness{RoundTrip: milliseconds(e.sizes.roundTrip), Misses: n, Rounds: e.sizes.rounds}
	p, err := e.edge(ctx, "lonely")
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := e.aim("warm", e.node.api, e.node.credentials[:n*e.sizes.rounds], true); err != nil {
		return nil, err
	}
	if _, err := e.each("warm", issuers, 0); err != nil {
		return nil, err
	}
	var bare, miss, hit []float64
	for round := range e.sizes.rounds {
		credentials := e.node.credentials[round*n : (round+1)*n]
		steps := []struct {
			name, addr string
			ask        bool
			pace       time.Duration
			to         *[]float64
		}{
			{"bare", e.behind, true, 0, &bare},
			{"miss", p.addr, false, 0, &miss},
			{"hit", p.addr, false, e.sizes.roundTrip, &hit}, // a processor that has slept is slower
		}
		for _, s := range steps {
			if err := e.aim(s.name, s.addr, credentials, s.ask); err != nil {
				return nil, err
			}
			did, err := e.each(s.name, 1, s.pace)
			if err != nil {
				return nil, p.failure(err)
			}
			*s.to = append(*s.to, microseconds(did.P50))
		}
	}
	found.Bare, found.Miss, found.Hit = spreadOf(bare), spreadOf(miss), spreadOf(hit)
	added := combine(miss, bare, difference)
	found.Added, found.Look = spreadOf(added), spreadOf(combine(added, hit, difference))
	return found, nil
}
