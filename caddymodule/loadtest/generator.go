package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Operations of a job.
const (
	opTarget = "target" // learn a target's address and credentials
	opEach   = "each"   // send the request of every credential once
	opRun    = "run"    // load for a slot

	opTimeline = "timeline" // load at a pace, second by second
	opAbuse    = "abuse"    // many connections that behave badly
	opFloods   = "floods"   // requests at a rate, answered or not
)

// A job is a line of JSON on the load generator's input; for each it writes one line, a [tally].
type job struct {
	Op          string        `json:"op"`
	Target      string        `json:"target"`
	Addr        string        `json:"addr,omitempty"`
	Credentials []string      `json:"credentials,omitempty"`
	Conns       int           `json:"conns,omitempty"`
	Warm        time.Duration `json:"warm,omitempty"` // load before the slot begins
	Slot        time.Duration `json:"slot,omitempty"`
	Latency     bool          `json:"latency,omitempty"` // time every request
	Ask         bool          `json:"ask,omitempty"`     // the target is an API: each request verifies its credential
	At          time.Time     `json:"at,omitzero"`       // when a timeline begins
	Pace        time.Duration `json:"pace,omitempty"`    // between the requests of one connection
	Rate        int           `json:"rate,omitempty"`    // of a flood, requests a second
	KnownRate   int           `json:"known_rate,omitempty"`
}

// A tally is what came of a job. Requests counts all answered with 200, warm-up included; Window those of the slot.
type tally struct {
	Requests uint64        `json:"requests"`
	Window   uint64        `json:"window"`
	Took     time.Duration `json:"took"` // the slot as it was
	Failures uint64        `json:"failures"`
	First    string        `json:"first,omitempty"` // the first failure; holds no credential
	P50      time.Duration `json:"p50,omitempty"`
	P99      time.Duration `json:"p99,omitempty"`
	Seconds  []second      `json:"seconds,omitempty"` // of a timeline
	Abuse    *abuse        `json:"abuse,omitempty"`
	Unknown  *flood        `json:"unknown,omitempty"`
	Known    *flood        `json:"known,omitempty"`
}

// perSecond is the rate within the slot.
func (t tally) perSecond() float64 { return float64(t.Window) / t.Took.Seconds() }

// generate is the role of the load generator: it does the jobs on in until in ends.
func generate(in io.Reader, out io.Writer) error {
	targets := make(map[string]*target)
	defer func() {
		for _, t := range targets {
			t.close()
		}
	}()
	jobs, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var j job
		if err := jobs.Decode(&j); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		t := targets[j.Target]
		var did tally
		switch {
		case j.Op == opTarget:
			if t != nil {
				t.close()
			}
			targets[j.Target] = newTarget(j.Addr, j.Credentials, j.Ask)
		case t == nil:
			return fmt.Errorf("no target %q", j.Target)
		case j.Op == opEach:
			did = t.each(j)
		case j.Op == opRun:
			did = t.run(j)
		case j.Op == opTimeline:
			did = t.timeline(j)
		case j.Op == opAbuse:
			did = t.abuse(j)
		case j.Op == opFloods:
			did = t.floods(j)
		default:
			return fmt.Errorf("no operation %q", j.Op)
		}
		if err := answers.Encode(did); err != nil {
			return err
		}
	}
}

// A target is a proxy under load. Its connections stay open between slots.
type target struct {
	addr     string
	requests [][]byte
	clients  []*client
}

func newTarget(addr string, credentials []string, ask bool) *target {
	t := &target{addr: addr, requests: make([][]byte, len(credentials))}
	for i, c := range credentials {
		if t.requests[i] = requestFor(addr, c); ask {
			t.requests[i] = questionFor(addr, c)
		}
	}
	return t
}

func (t *target) close() {
	for _, c := range t.clients {
		c.close()
	}
}

// some gives n clients, the same ones each time.
func (t *target) some(n int) []*client {
	for len(t.clients) < n {
		t.clients = append(t.clients, &client{addr: t.addr})
	}
	return t.clients[:n]
}

// A counter belongs to one worker; the padding keeps it on a cache line of its own.
type counter struct {
	good atomic.Uint64
	_    [56]byte
}

// A failures collects what went wrong in all workers of a job.
type failures struct {
	mu    sync.Mutex
	count uint64
	first string
}

func (f *failures) add(status int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if f.count > 1 {
		return
	}
	if err != nil {
		f.first = err.Error()
	} else {
		f.first = fmt.Sprintf("status %d", status)
	}
}

// maxFailing ends a worker after so many failures: a dead proxy is told, not hammered.
const maxFailing = 10

// each sends every request once over j.Conns connections, on each of them j.Pace after the answer to the one before.
// With j.Latency the good ones are timed, from a connection that is open to the end of the answer.
func (t *target) each(j job) tally {
	var failed failures
	var next, good atomic.Uint64
	var wg sync.WaitGroup
	times := make([][]time.Duration, j.Conns)
	began := time.Now()
	for at, c := range t.some(j.Conns) {
		wg.Go(func() {
			for failing := 0; failing < maxFailing; {
				i := next.Add(1) - 1
				if i >= uint64(len(t.requests)) {
					return
				}
				if err := c.deadline(time.Now().Add(exchangeTimeout)); err != nil {
					failed.add(0, err)
					failing++
					continue
				}
				if j.Pace > 0 {
					<-time.After(j.Pace)
				}
				sent := time.Now()
				if status, err := c.do(t.requests[i]); err != nil || status != http.StatusOK {
					failed.add(status, err)
					failing++
					continue
				}
				good.Add(1)
				if j.Latency {
					times[at] = append(times[at], time.Since(sent))
				}
			}
		})
	}
	wg.Wait()
	did := tally{
		Requests: good.Load(), Window: good.Load(), Took: time.Since(began),
		Failures: failed.count, First: failed.first,
	}
	did.P50, did.P99 = middleAndTail(times)
	return did
}

// middleAndTail are the quantiles of what was timed, if anything was.
func middleAndTail(times [][]time.Duration) (p50, p99 time.Duration) {
	all := slices.Concat(times...)
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100]
}

// run loads the target over j.Conns connections with requests chosen at random, for j.Warm and then for j.Slot.
func (t *target) run(j job) tally {
	var failed failures
	var stop, measuring atomic.Bool
	var wg sync.WaitGroup
	clients := t.some(j.Conns)
	counters := make([]counter, len(clients))
	times := make([][]time.Duration, len(clients))
	until := time.Now().Add(j.Warm + j.Slot + exchangeTimeout)
	for i, c := range clients {
		wg.Go(func() {
			w := worker{client: c, requests: t.requests, counter: &counters[i], failed: &failed, stop: &stop}
			w.pace = j.Pace
			if j.Latency {
				w.measuring = &measuring
			}
			times[i] = w.work(until)
		})
	}
	sum := func() (n uint64) {
		for i := range counters {
			n += counters[i].good.Load()
		}
		return n
	}
	<-time.After(j.Warm)
	measuring.Store(true)
	began, before := time.Now(), sum()
	<-time.After(j.Slot)
	did := tally{Window: sum() - before, Took: time.Since(began)}
	stop.Store(true)
	wg.Wait()
	did.Requests, did.Failures, did.First = sum(), failed.count, failed.first
	did.P50, did.P99 = middleAndTail(times)
	return did
}

// A worker sends requests over one connection, one after the other.
type worker struct {
	client    *client
	requests  [][]byte
	counter   *counter
	failed    *failures
	stop      *atomic.Bool
	measuring *atomic.Bool // nil: time nothing
	pace      time.Duration
}

func (w *worker) work(until time.Time) (times []time.Duration) {
	random := rand.New(rand.NewPCG(rand.Uint64(), 0)) //nolint:gosec // picks a key to send, keeps no secret
	if err := w.client.deadline(until); err != nil {
		w.failed.add(0, err)
		return nil
	}
	for failing := 0; failing < maxFailing && !w.stop.Load(); {
		if w.pace > 0 {
			<-time.After(w.pace)
		}
		var began time.Time
		if w.measuring != nil {
			began = time.Now()
		}
		status, err := w.client.do(w.requests[random.IntN(len(w.requests))])
		if err != nil || status != http.StatusOK {
			w.failed.add(status, err)
			if err = w.client.deadline(until); err != nil {
				return times
			}
			failing++
			continue
		}
		w.counter.good.Add(1)
		if w.measuring != nil && w.measuring.Load() {
			times = append(times, time.Since(began))
		}
	}
	return times
}

// warmUp is how long a target is loaded before a slot of this length counts: a tenth of it, 20 ms to 200 ms.
func warmUp(slot time.Duration) time.Duration {
	return min(max(slot/10, 20*time.Millisecond), 200*time.Millisecond)
}
