package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// Of every ten connections, some send a request and wait for the answer, some close before there can be an answer, and
// the rest never finish their request.
const (
	waitersOfTen = 4
	leaversOfTen = 3
)

// How fast the connections act.
const (
	abusePause  = time.Second            // of a connection between two requests, and of a slow one between two bytes
	abuseLeaves = 100 * time.Millisecond // between a request and closing
)

// An abuse is the result of many connections that behave badly. Those that wait send a good credential and a forged one
// by turns.
type abuse struct {
	Good    answers `json:"good_credentials"`
	Forged  answers `json:"forged_credentials"`
	Left    uint64  `json:"left"`         // requests whose caller went away
	Trickle uint64  `json:"slow_bytes"`   // bytes that slow callers sent
	Cut     uint64  `json:"slow_cut_off"` // slow callers that the server hung up on
	Failed  uint64  `json:"not_connected"`
	First   string  `json:"first_not_connected,omitempty"`
	Open    int64   `json:"connections"` // at most at once
}

// An abuseRun is an abuse that is running.
type abuseRun struct {
	target *target
	until  time.Time

	mu    sync.Mutex
	open  int64
	abuse abuse
}

// abuse opens j.Conns connections in the first fifth of j.Slot and keeps them for the rest of it.
func (t *target) abuse(j job) tally {
	run := &abuseRun{target: t, until: time.Now().Add(j.Slot)}
	// Not a deadline: a connection that is being opened at the end would fail before the context says that it is over.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer time.AfterFunc(j.Slot, cancel).Stop()
	var wg sync.WaitGroup
	begin := time.NewTimer(0)
	defer begin.Stop()
	for i := range j.Conns {
		<-begin.C
		switch {
		case i%10 < waitersOfTen:
			wg.Go(func() { run.wait(ctx) })
		case i%10 < waitersOfTen+leaversOfTen:
			wg.Go(func() { run.leave(ctx) })
		default:
			wg.Go(func() { run.trickle(ctx) })
		}
		elapsed := j.Slot - time.Until(run.until)
		begin.Reset(j.Slot/5*time.Duration(i+1)/time.Duration(j.Conns) - elapsed)
	}
	wg.Wait()
	return tally{Abuse: &run.abuse}
}

// note changes the result.
func (t *abuseRun) note(change func(*abuse)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.abuse)
}

// noteFailure counts a connection that could not be opened, unless the run has ended.
func (t *abuseRun) noteFailure(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	t.note(func(c *abuse) {
		c.Failed++
		if c.Failed == 1 {
			c.First = err.Error()
		}
	})
}

// opened counts a connection, and the returned function its end.
func (t *abuseRun) opened() (ended func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open++
	t.abuse.Open = max(t.abuse.Open, t.open)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.open--
	}
}

// pause waits for about d. It returns false at the end of the run.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // load, not a secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// wait asks again and again, and waits for each answer.
func (t *abuseRun) wait(ctx context.Context) {
	c := &client{addr: t.target.addr}
	defer c.close()
	if err := c.connect(); err != nil { //nolint:contextcheck // dialing has a time limit of its own
		t.noteFailure(ctx, err)
		return
	}
	defer t.opened()()
	for n := 0; ; n++ {
		good := n%2 == 0
		request := t.target.requests[rand.IntN(len(t.target.requests))] //nolint:gosec // load, not a secret
		if !good {
			request = requestFor(t.target.addr, forged())
		}
		status, err := exchange(c, request) //nolint:contextcheck // an exchange has a time limit of its own
		t.note(func(c *abuse) {
			if good {
				c.Good.add(status, err)
			} else {
				c.Forged.add(status, err)
			}
		})
		if !pause(ctx, abusePause) {
			return
		}
	}
}

// leave asks and resets the connection before there can be an answer, again and again.
func (t *abuseRun) leave(ctx context.Context) {
	for on := true; on; {
		conn, err := t.dial(ctx)
		if err != nil {
			t.noteFailure(ctx, err)
			return
		}
		ended := t.opened()
		if on = pause(ctx, abusePause); on {
			if _, err = conn.Write(requestFor(t.target.addr, forged())); err == nil {
				t.note(func(c *abuse) { c.Left++ })
			}
			on = pause(ctx, abuseLeaves)
		}
		_ = conn.Close() // with a reset
		ended()
	}
}

// trickle sends a request that has no end, byte by byte.
func (t *abuseRun) trickle(ctx context.Context) {
	conn, err := t.dial(ctx)
	if err != nil {
		t.noteFailure(ctx, err)
		return
	}
	defer conn.Close() //nolint:errcheck // nothing is expected
	defer t.opened()()
	for text := []byte("GET /orders/17 HTTP/1.1\r\nX-Slow: "); ; text = []byte{'x'} {
		n, err := conn.Write(text)
		t.note(func(c *abuse) { c.Trickle += uint64(max(n, 0)) })
		if err == nil {
			// Nothing is to be read: the wait for it ends when the next byte is due, or when the server hangs up.
			if err = conn.SetReadDeadline(time.Now().Add(abusePause)); err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
		}
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.note(func(c *abuse) { c.Cut++ })
			return
		}
	}
}

// dial opens a connection that ends with a reset: an end in order would keep its port for a minute.
func (t *abuseRun) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: exchangeTimeout}).DialContext(ctx, "tcp", t.target.addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = tcp.SetLinger(0)
	}
	return conn, err
}
