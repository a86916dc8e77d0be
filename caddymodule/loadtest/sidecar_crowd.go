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

// What the connections of a crowd do, of every ten: some ask and wait, some ask and go away before there can be an
// answer, the rest never finish asking.
const (
	waitersOfTen = 4
	leaversOfTen = 3
)

// How fast a crowd acts.
const (
	crowdPause  = time.Second            // of a connection between two requests, and of a slow one between two bytes
	crowdLeaves = 100 * time.Millisecond // between a request and going away
)

// A crowd is what came of many connections that behave badly. Waiters ask by turns with a good credential and with one
// that nobody has issued.
type crowd struct {
	Good    answers `json:"good_credentials"`
	Forged  answers `json:"forged_credentials"`
	Left    uint64  `json:"left"`         // requests whose caller went away
	Trickle uint64  `json:"slow_bytes"`   // bytes that slow callers sent
	Cut     uint64  `json:"slow_cut_off"` // slow callers that the server hung up on
	Failed  uint64  `json:"not_connected"`
	First   string  `json:"first_not_connected,omitempty"`
	Open    int64   `json:"connections"` // at most at once
}

// A throng is a crowd at work.
type throng struct {
	target *target
	until  time.Time

	mu    sync.Mutex
	open  int64
	crowd crowd
}

// crowd opens j.Conns connections in the first fifth of j.Slot and keeps them for the rest of it.
func (t *target) crowd(j job) tally {
	crowding := &throng{target: t, until: time.Now().Add(j.Slot)}
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
			wg.Go(func() { crowding.wait(ctx) })
		case i%10 < waitersOfTen+leaversOfTen:
			wg.Go(func() { crowding.leave(ctx) })
		default:
			wg.Go(func() { crowding.trickle(ctx) })
		}
		elapsed := j.Slot - time.Until(crowding.until)
		begin.Reset(j.Slot/5*time.Duration(i+1)/time.Duration(j.Conns) - elapsed)
	}
	wg.Wait()
	return tally{Crowd: &crowding.crowd}
}

// note changes what came of the crowd.
func (t *throng) note(change func(*crowd)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.crowd)
}

// noteFailure counts a connection that could not be opened, unless the crowd has ended.
func (t *throng) noteFailure(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	t.note(func(c *crowd) {
		c.Failed++
		if c.Failed == 1 {
			c.First = err.Error()
		}
	})
}

// opened counts a connection, and the returned function its end.
func (t *throng) opened() (ended func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open++
	t.crowd.Open = max(t.crowd.Open, t.open)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.open--
	}
}

// pause waits for about d. It returns false at the end of the crowd.
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
func (t *throng) wait(ctx context.Context) {
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
		t.note(func(c *crowd) {
			if good {
				c.Good.add(status, err)
			} else {
				c.Forged.add(status, err)
			}
		})
		if !pause(ctx, crowdPause) {
			return
		}
	}
}

// leave asks and resets the connection before there can be an answer, again and again.
func (t *throng) leave(ctx context.Context) {
	for on := true; on; {
		conn, err := t.dial(ctx)
		if err != nil {
			t.noteFailure(ctx, err)
			return
		}
		ended := t.opened()
		if on = pause(ctx, crowdPause); on {
			if _, err = conn.Write(requestFor(t.target.addr, forged())); err == nil {
				t.note(func(c *crowd) { c.Left++ })
			}
			on = pause(ctx, crowdLeaves)
		}
		_ = conn.Close() // with a reset
		ended()
	}
}

// trickle sends a request that has no end, byte by byte.
func (t *throng) trickle(ctx context.Context) {
	conn, err := t.dial(ctx)
	if err != nil {
		t.noteFailure(ctx, err)
		return
	}
	defer conn.Close() //nolint:errcheck // nothing is expected
	defer t.opened()()
	for text := []byte("GET /orders/17 HTTP/1.1\r\nX-Slow: "); ; text = []byte{'x'} {
		n, err := conn.Write(text)
		t.note(func(c *crowd) { c.Trickle += uint64(max(n, 0)) })
		if err == nil {
			// Nothing is to be read: the wait for it ends when the next byte is due, or when the server hangs up.
			if err = conn.SetReadDeadline(time.Now().Add(crowdPause)); err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
		}
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.note(func(c *crowd) { c.Cut++ })
			return
		}
	}
}

// dial opens a connection that ends with a reset: an end in order would keep its port for a minute.
func (t *throng) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: exchangeTimeout}).DialContext(ctx, "tcp", t.target.addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = tcp.SetLinger(0)
	}
	return conn, err
}
