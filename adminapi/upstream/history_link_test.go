package upstream

import (
	"bytes"
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"
)

// traffic is a kind of request of an edge.
type traffic int

const (
	feedTraffic traffic = iota
	lookUpTraffic
	kindsOfTraffic
)

// link is the network between an edge and an address of its upstream: a proxy that delays requests and answers, loses
// answers or parts of them, sends requests twice, and can be cut.
type link struct {
	to     func(*http.Request) (w *httptest.ResponseRecorder, arrives bool)
	ending context.Context
	late   sync.WaitGroup // copies of requests

	mu     sync.Mutex
	random *rand.Rand
	slow   time.Duration // a request and an answer take up to this long
	faults int           // of 100 requests with one
	cuts   [kindsOfTraffic]*cut
}

// cut is a partition of one kind of traffic.
type cut struct {
	resets bool          // connections are reset; otherwise nothing arrives, and what was sent arrives when it heals
	healed chan struct{} // closed when it is over
}

// cut cuts a kind of traffic.
func (l *link) cut(kind traffic, resets bool) {
	l.heal(kind)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts[kind] = &cut{resets: resets, healed: make(chan struct{})}
}

func (l *link) heal(kind traffic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.cuts[kind]; c != nil {
		close(c.healed)
		l.cuts[kind] = nil
	}
}

// setSlow sets how long a request and an answer take at most.
func (l *link) setSlow(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow = d
}

// fate is what happens to a request.
type fate struct {
	before, after time.Duration
	copied        time.Duration // a copy is sent this long after it; 0: none
	lost, halved  bool          // the answer, with its connection
	silent        bool          // the answer is lost, and the connection stays
}

func (l *link) fate() (f fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slow > 0 {
		f.before, f.after = l.some(l.slow), l.some(l.slow)
	}
	if l.faults == 0 || l.random.IntN(100) >= l.faults {
		return f
	}
	switch l.random.IntN(6) {
	case 0:
		f.lost = true
	case 1:
		f.halved = true
	case 2:
		f.silent = true
	case 3:
		f.after = l.some(2 * time.Second) // it may come too late
	case 4:
		f.before = l.some(2 * time.Second)
	default:
		f.copied = l.some(2 * time.Second)
	}
	return f
}

func (l *link) some(most time.Duration) time.Duration {
	return time.Duration(1 + l.random.Int64N(int64(most)))
}

// cross waits until the link is not cut. It returns false if the connection is reset or ctx ends.
func (l *link) cross(ctx context.Context, kind traffic) bool {
	for {
		l.mu.Lock()
		c := l.cuts[kind]
		l.mu.Unlock()
		switch {
		case c == nil:
			return ctx.Err() == nil
		case c.resets:
			return false
		}
		select {
		case <-c.healed:
		case <-ctx.Done():
			return false
		}
	}
}

// ServeHTTP passes a request on.
func (l *link) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := lookUpTraffic
	if strings.HasSuffix(r.URL.Path, "/events") {
		kind = feedTraffic
	}
	body, err := io.ReadAll(r.Body)
	f := l.fate()
	pause(r.Context(), f.before)
	if err != nil || !l.cross(r.Context(), kind) {
		panic(http.ErrAbortHandler)
	}
	again := func(ctx context.Context) *http.Request {
		out := r.Clone(ctx)
		out.Body = io.NopCloser(bytes.NewReader(body))
		return out
	}
	if f.copied > 0 {
		l.late.Go(func() {
			pause(l.ending, f.copied)
			ctx, cancel := context.WithTimeout(l.ending, time.Second)
			defer cancel()
			l.to(again(ctx))
		})
	}
	answer, arrives := l.to(again(r.Context()))
	pause(r.Context(), f.after)
	if f.silent {
		<-r.Context().Done()
	}
	if !arrives || f.lost || !l.cross(r.Context(), kind) {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.Header())
	text := answer.Body.Bytes()
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(answer.Code)
	if f.halved {
		_, _ = w.Write(text[:len(text)/2])
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(text)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
