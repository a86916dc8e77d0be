package upstream

import (
	"context"
	"errors"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/outage"
)

// pool is the addresses of one upstream. A call goes to the address that answered last; when that fails, to the next,
// and later calls with it.
type pool struct {
	addresses []*address
	current   atomic.Int32
	timeout   time.Duration // of a call that had all its time
	probes    uint32
	reopen    time.Duration
	report    func(*failure)
}

// address is one of the upstream's addresses, with what is known of its health.
type address struct {
	name    string // for people; without a password
	client  *client.Client
	callers *client.Client // carries what callers ask: with no certificate of this node's
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	watch   *outage.Watch
}

var errExcluded = errors.New("nobody's failure")

// callClass says how a call goes on after an address that fails, and what it has to do with the breakers.
type callClass int

const (
	// queryCall is a call of this node that changes nothing. Breakers let it through and learn how it ended. It goes on
	// after whatever another address may do better.
	queryCall callClass = iota

	// onceCall is a call that may change something. It goes on only while no connection could be had: nothing was sent
	// then. Breakers have no part in it.
	onceCall

	// probeCall asks whether an address is ready. It goes on after each failure. Breakers keep it from an address and
	// learn nothing from it.
	probeCall
)

// do makes a call at one address after the other until one answers it or, by the call's class, no other may be asked.
func (p *pool) do(ctx context.Context, class callClass, call func(context.Context, *address) error) *failure {
	var worst *failure
	first := p.current.Load()
	for i := range p.addresses {
		at := (int(first) + i) % len(p.addresses)
		f, more := p.try(ctx, p.addresses[at], class, call)
		if class == queryCall {
			p.prefer(int(first), at, f)
		}
		if f == nil || !more {
			return f
		}
		if f.worse(worst) {
			worst = f
		}
	}
	return worst
}

// try makes a call at one address. more reports whether another address may be asked after a failure.
func (p *pool) try(
	ctx context.Context, a *address, class callClass, call func(context.Context, *address) error,
) (f *failure, more bool) {
	switch class {
	case onceCall:
		connected := false
		trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }}
		f = judge(ctx, a.name, call(httptrace.WithClientTrace(ctx, trace), a), false)
		return f, !connected && ctx.Err() == nil
	case probeCall:
		if f = p.blocked(a); f == nil {
			f = judge(ctx, a.name, call(ctx, a), false)
		}
		return f, true
	default:
		f = p.query(ctx, a, call)
		return f, f != nil && f.elsewhere()
	}
}

// prefer makes later calls begin at the address that answered, or after the one that failed.
func (p *pool) prefer(first, at int, f *failure) {
	switch {
	case f == nil:
		p.current.CompareAndSwap(int32(first), int32(at)) //nolint:gosec // indexes
	case f.result == ResultTimeout, f.elsewhere() && f.result != ResultRefused:
		next := (at + 1) % len(p.addresses)
		p.current.CompareAndSwap(int32(at), int32(next)) //nolint:gosec // indexes
	}
}

// query makes a call at one address if its breaker lets it through, and tells the breaker how it ended.
func (p *pool) query(ctx context.Context, a *address, call func(context.Context, *address) error) *failure {
	if ctx.Err() != nil {
		return &failure{result: ResultCanceled, address: a.name, cause: ctx.Err()}
	}
	done, err := a.breaker.Allow()
	if err != nil {
		return refused(a, err, p.reopen)
	}
	short := false
	if deadline, ok := ctx.Deadline(); ok {
		short = time.Until(deadline) < p.timeout/4
	}
	f := &failure{result: ResultFailed, address: a.name, cause: errors.New("the call panicked")}
	defer func() {
		switch {
		case f == nil || f.healthy():
			done(nil)
		case f.result == ResultCanceled:
			done(errExcluded)
		default:
			done(f)
		}
		p.noteAddress(a, f)
	}()
	if f = judge(ctx, a.name, call(ctx, a), short); f != nil {
		p.report(f)
	}
	return f
}

// noteAddress logs when the breaker of one address of several stops the calls to it, and the first answer that
// it gives after that. That the only address fails is the upstream's outage.
func (p *pool) noteAddress(a *address, f *failure) {
	switch {
	case len(p.addresses) == 1, f != nil && f.result == ResultCanceled:
	case f == nil || f.healthy():
		a.watch.Worked()
	case a.breaker.State() == gobreaker.StateOpen:
		a.watch.Failed(f.cause)
	}
}

func refused(a *address, err error, retry time.Duration) *failure {
	return &failure{result: ResultRefused, address: a.name, cause: err, retry: retry}
}

// admits returns nil when a call could be made now, in well under a microsecond and without making one.
func (p *pool) admits() *failure {
	var worst *failure
	for _, a := range p.addresses {
		f := p.blocked(a)
		if f == nil {
			return nil
		}
		worst = f
	}
	return worst
}

// blocked is why no call may be made at an address, or nil.
func (p *pool) blocked(a *address) *failure {
	switch a.breaker.State() {
	case gobreaker.StateOpen:
		return refused(a, gobreaker.ErrOpenState, p.reopen)
	case gobreaker.StateHalfOpen:
		if c := a.breaker.Counts(); c.Requests-c.TotalExclusions >= p.probes {
			return refused(a, gobreaker.ErrTooManyRequests, p.reopen)
		}
	case gobreaker.StateClosed:
	}
	return nil
}

// close closes the connections that no call is using.
func (p *pool) close() {
	for _, a := range p.addresses {
		a.client.Close()
		a.callers.Close()
		a.watch.Close()
	}
}
