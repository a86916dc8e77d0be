package feed

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// lease is up to when a table of positions may be relied on. The zero value is one that does not end.
type lease struct {
	// The end, by both clocks. The steady clock cannot be set but stops while a machine sleeps; the wall clock
	// is the other way around.
	steady atomic.Int64 // nanoseconds since Epoch; 0: the lease does not end
	wall   atomic.Int64 // Unix nanoseconds

	mu        sync.Mutex
	withdrawn error         // why the lease was withdrawn, or nil
	changed   chan struct{} // closed when the lease changes; nil: nobody waits
}

// Epoch is the moment in this process from which readings of the steady clock count.
var Epoch = time.Now()

// set changes the lease and wakes who waits for it.
func (l *lease) set(steady, wall int64, withdrawn error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steady.Store(steady)
	l.wall.Store(wall)
	l.withdrawn = withdrawn
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// Renew says that the table may be relied on until a moment, and not beyond it. A store whose database other processes
// change renews the lease with each poll: a process that was paused does not answer from before the pause. A table
// whose lease was never renewed has none, and may be relied on at any time.
func (p *Positions) Renew(until time.Time) {
	p.lease.set(max(int64(until.Sub(Epoch)), 1), until.UnixNano(), nil)
}

// Withdraw says that the table may not be relied on, until the next [Positions.Renew]. reason is what callers of
// [Positions.Await] get.
func (p *Positions) Withdraw(reason error) { p.lease.set(math.MinInt64, math.MinInt64, reason) }

// Current reports whether the table may be relied on at a moment: the time since [Epoch] by the steady clock, and Unix
// nanoseconds by the wall clock. It takes no lock.
func (p *Positions) Current(steady time.Duration, wall int64) bool {
	until := p.lease.steady.Load()
	return until == 0 || int64(steady) < until && wall < p.lease.wall.Load()
}

// Await waits until the table may be relied on by a request that began at a moment, see [Positions.Current]. It returns
// the reason if the lease was withdrawn, and ctx's error if ctx ends first.
func (p *Positions) Await(ctx context.Context, steady time.Duration, wall int64) error {
	for {
		p.lease.mu.Lock()
		if p.Current(steady, wall) {
			p.lease.mu.Unlock()
			return nil
		}
		if err := p.lease.withdrawn; err != nil {
			p.lease.mu.Unlock()
			return err
		}
		if p.lease.changed == nil {
			p.lease.changed = make(chan struct{})
		}
		changed := p.lease.changed
		p.lease.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
