package main

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// oneUnknownIn is how many requests of a timeline there are to one with a credential that nobody has issued.
const oneUnknownIn = 10

// Answers are counted by what they say.
type answers struct {
	Good        uint64 `json:"admitted"`
	Refused     uint64 `json:"refused_401"`
	Unavailable uint64 `json:"unavailable_503"`
	Other       uint64 `json:"other"` // another status, or none
}

func (a *answers) add(status int, err error) {
	switch {
	case err != nil:
		a.Other++
	case status == http.StatusOK:
		a.Good++
	case status == http.StatusUnauthorized:
		a.Refused++
	case status == http.StatusServiceUnavailable:
		a.Unavailable++
	default:
		a.Other++
	}
}

func (a *answers) join(b *answers) {
	a.Good += b.Good
	a.Refused += b.Refused
	a.Unavailable += b.Unavailable
	a.Other += b.Other
}

// A second is what came of the requests that were sent in one second.
type second struct {
	Known   answers       `json:"known"`
	Unknown answers       `json:"unknown"`
	P99     time.Duration `json:"p99"`

	times []time.Duration
}

// timeline loads the target from j.At on for j.Slot over j.Conns connections, each of which sends a request every
// j.Pace, or when it has its answer if that is later. Most carry a credential of the target at random; the others one
// that nobody has issued.
func (t *target) timeline(j job) (did tally) {
	n := int((j.Slot + time.Second - 1) / time.Second)
	shares := make([][]second, j.Conns)
	var wg sync.WaitGroup
	for i, c := range t.some(j.Conns) {
		shares[i] = make([]second, n)
		begin := j.At.Add(j.Pace * time.Duration(i) / time.Duration(j.Conns))
		wg.Go(func() { t.pace(c, j, begin, shares[i]) })
	}
	wg.Wait()
	did.Seconds = make([]second, n)
	for i := range did.Seconds {
		s := &did.Seconds[i]
		for _, share := range shares {
			s.Known.join(&share[i].Known)
			s.Unknown.join(&share[i].Unknown)
			s.times = append(s.times, share[i].times...)
		}
		if len(s.times) > 0 {
			slices.Sort(s.times)
			s.P99 = s.times[len(s.times)*99/100]
		}
	}
	return did
}

// pace sends what one connection has to send.
func (t *target) pace(c *client, j job, begin time.Time, seconds []second) {
	timer := time.NewTimer(time.Until(begin))
	defer timer.Stop()
	for n, next := 1, begin; ; n++ {
		<-timer.C
		sent := time.Now()
		at := int(max(sent.Sub(j.At), 0) / time.Second)
		if at >= len(seconds) || sent.Sub(j.At) >= j.Slot {
			return
		}
		s := &seconds[at]
		if n%oneUnknownIn == 0 {
			s.Unknown.add(exchange(c, requestFor(t.addr, forged())))
		} else {
			s.Known.add(exchange(c, t.requests[rand.IntN(len(t.requests))])) //nolint:gosec // load, not a secret
		}
		s.times = append(s.times, time.Since(sent))
		next = next.Add(j.Pace)
		if late := time.Now(); next.Before(late) {
			next = late // what was missed is not made up for
		}
		timer.Reset(time.Until(next))
	}
}

// exchange is one request with a deadline of its own.
func exchange(c *client, request []byte) (status int, err error) {
	if err := c.deadline(time.Now().Add(exchangeTimeout)); err != nil {
		return 0, err
	}
	return c.do(request)
}
