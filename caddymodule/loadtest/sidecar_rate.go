package main

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// maxFlood is how many requests of a flood may be under way at once, each on a connection of its own.
const maxFlood = 6000

// A flood is what came of requests that were sent at a steady rate, whether or not those before were answered: what was
// sent after the warm-up.
type flood struct {
	answers
	Offered uint64        `json:"offered"`
	Unsent  uint64        `json:"unsent"` // because there was no connection
	P50     time.Duration `json:"p50"`    // of those that were answered, with 200 or 401
	P99     time.Duration `json:"p99"`
	Waited  time.Duration `json:"refused_p99"` // of those that were refused, with 503
}

// floods sends two floods at once: j.Rate requests a second with credentials that nobody has issued, and j.Known with
// credentials of the target at random.
func (t *target) floods(j job) tally {
	p := &connections{addr: t.addr}
	defer p.close()
	var did tally
	var both sync.WaitGroup
	both.Go(func() {
		did.Unknown = p.flood(j, j.Rate, func() []byte { return requestFor(t.addr, forged()) })
	})
	both.Go(func() {
		did.Known = p.flood(j, j.KnownRate, func() []byte {
			return t.requests[rand.IntN(len(t.requests))] //nolint:gosec // load, not a secret
		})
	})
	both.Wait()
	return did
}

// connections are those of a flood, as many as requests are under way.
type connections struct {
	addr string

	mu   sync.Mutex
	idle []*client
	open int
}

// take returns a connection that no request uses, or nil when there are as many as there may be.
func (p *connections) take() *client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return c
	}
	if p.open == maxFlood {
		return nil
	}
	p.open++
	return &client{addr: p.addr}
}

func (p *connections) give(c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
}

func (p *connections) close() {
	for _, c := range p.idle {
		c.close()
	}
}

// flood sends requests at a rate for j.Warm and then for j.Slot.
func (p *connections) flood(j job, rate int, request func() []byte) *flood {
	f := new(flood)
	var good, refused []time.Duration
	var mu sync.Mutex
	var sent sync.WaitGroup
	began := time.Now()
	for i := range int((j.Warm + j.Slot).Seconds() * float64(rate)) {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if wait := time.Until(due); wait > time.Millisecond {
			<-time.After(wait)
		}
		counts := due.Sub(began) >= j.Warm
		c := p.take()
		if counts {
			f.Offered++
			if c == nil {
				f.Unsent++
			}
		}
		if c == nil {
			continue
		}
		sent.Go(func() {
			defer p.give(c)
			start := time.Now()
			status, err := exchange(c, request())
			took := time.Since(start)
			if !counts {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			before := f.Unavailable + f.Other
			f.add(status, err)
			if f.Unavailable+f.Other > before {
				refused = append(refused, took)
			} else {
				good = append(good, took)
			}
		})
	}
	sent.Wait()
	f.P50, f.P99 = middleAndTail([][]time.Duration{good})
	_, f.Waited = middleAndTail([][]time.Duration{slices.Clone(refused)})
	return f
}
