package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// The pace of retries: a random wait of at most firstBackoff, which doubles up to maxBackoff. A server that asks for
// more than maxRetryAfter is not waited for.
const (
	firstBackoff  = 200 * time.Millisecond
	maxBackoff    = 5 * time.Second
	maxRetryAfter = 30 * time.Second
)

// persist sends a request, and again where that is safe and of use.
func (c *Client) persist(ctx context.Context, r *request) ([]byte, error) {
	if !r.repeatable {
		return c.once(ctx, r)
	}
	// Of a request with this header, net/http finds another connection when a kept one turns out to be dead. With
	// neither value the header is not sent.
	r.header["Idempotency-Key"] = []string{}
	lost := false
	for attempt := 0; ; {
		var w wire
		answer, err := c.once(httptrace.WithClientTrace(ctx, w.trace()), r)
		switch e, refused := errors.AsType[*Error](err); {
		case err == nil:
			return answer, nil
		case refused:
			if attempt >= c.retries || !waitFor(ctx, e, attempt) {
				return nil, err
			}
			attempt++
		case lost || ctx.Err() != nil || !w.lost() || isTimeout(err):
			return nil, err
		default:
			lost = true
		}
	}
}

// wire notes how far a request came.
type wire struct{ connected, answered atomic.Bool }

func (w *wire) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn:              func(httptrace.GotConnInfo) { w.connected.Store(true) },
		GotFirstResponseByte: func() { w.answered.Store(true) },
	}
}

// lost reports whether there was a connection, and no answer on it.
func (w *wire) lost() bool { return w.connected.Load() && !w.answered.Load() }

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// waitFor waits before the next attempt. It returns false when there is to be none.
func waitFor(ctx context.Context, e *Error, attempt int) bool {
	if e.HTTP != http.StatusTooManyRequests && e.HTTP != http.StatusServiceUnavailable || e.RetryAfter > maxRetryAfter {
		return false
	}
	most := min(firstBackoff<<min(attempt, 10), maxBackoff)
	wait := e.RetryAfter + rand.N(most) //nolint:gosec // spreads the calls, keeps no secret
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
