package upstream

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/talos-edge/talos-edge/adminapi/client"
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
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
}

var errExcluded = errors.New("nobody's failure")

// newBreaker makes an address' breaker. It opens after some failures in a row; changed is called when its state changes
// and may not call it.
func newBreaker(name string, b Breaker, changed func(address string, to gobreaker.State),
) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	return gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:          name,
		MaxRequests:   b.Probes,
		Timeout:       b.Pause,
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= b.Failures },
		IsExcluded:    func(err error) bool { return errors.Is(err, errExcluded) },
		OnStateChange: func(name string, _, to gobreaker.State) { changed(name, to) },
	})
}

// do makes a call at the first address that answers it. The error is a *failure.
func (p *pool) do(ctx context.Context, call func(context.Context, *client.Client) error) *failure {
	var worst *failure
	first := p.current.Load()
	for i := range p.addresses {
		at := (int(first) + i) % len(p.addresses)
		f := p.try(ctx, p.addresses[at], call)
		if f == nil {
			p.current.CompareAndSwap(first, int32(at)) //nolint:gosec // an index
			return nil
		}
		if f.result == ResultTimeout || f.elsewhere() && f.result != ResultRefused {
			next := (at + 1) % len(p.addresses)
			p.current.CompareAndSwap(int32(at), int32(next)) //nolint:gosec // an index
		}
		if !f.elsewhere() {
			return f
		}
		if f.worse(worst) {
			worst = f
		}
	}
	return worst
}

// try makes a call at one address.
func (p *pool) try(ctx context.Context, a *address, call func(context.Context, *client.Client) error) *failure {
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
		case f == nil || f.harmless():
			done(nil)
		case f.result == ResultCanceled:
			done(errExcluded)
		default:
			done(f)
		}
	}()
	f = judge(ctx, a.name, call(ctx, a.client), short)
	if f == nil {
		return nil
	}
	p.report(f)
	return f
}

func refused(a *address, err error, retry time.Duration) *failure {
	return &failure{result: ResultRefused, address: a.name, cause: err, retry: retry}
}

// admits returns nil when a call could be made now, in well under a microsecond and without making one.
func (p *pool) admits() *failure {
	var worst *failure
	for _, a := range p.addresses {
		f := p.closed(a)
		if f == nil {
			return nil
		}
		worst = f
	}
	return worst
}

// closed is why no call may be made at an address, or nil.
func (p *pool) closed(a *address) *failure {
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
	}
}
