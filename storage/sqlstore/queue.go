package sqlstore

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/core/feed"
)

// change makes a change in a transaction. It may be called again after a rollback.
type change func(context.Context, *Writer) error

// mutation is one change on its way through the group commit.
type mutation struct {
	apply change
	by    feed.Caller
	until time.Time     // up to when it waits for other processes' transactions
	err   error         // the answer, once done is closed
	done  chan struct{} // closed when the mutation has its answer
}

// finish gives the mutation its answer.
func (m *mutation) finish(err error) {
	m.err = err
	close(m.done)
}

// queue holds the mutations that wait to be committed, first in, first out.
type queue struct {
	slots   chan struct{} // one element for each mutation that waits: the bound
	wake    chan struct{} // has an element when there may be something to take
	closing chan struct{}

	mu      sync.Mutex
	waiting []*mutation
	closed  bool
}

func newQueue(size int) *queue {
	return &queue{
		slots:   make(chan struct{}, size),
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
	}
}

// push adds a mutation. While the queue is full it waits, until ctx ends or the queue is closed.
func (q *queue) push(ctx context.Context, m *mutation) error {
	if err := ctx.Err(); err != nil {
		return errNotBegun(err)
	}
	select {
	case q.slots <- struct{}{}:
	case <-ctx.Done():
		return errNotBegun(ctx.Err())
	case <-q.closing:
		return ClosedError()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		<-q.slots
		return ClosedError()
	}
	q.waiting = append(q.waiting, m)
	q.wakeUp()
	return nil
}

// remove takes a mutation out, and reports whether it was still there.
func (q *queue) remove(m *mutation) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, m)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	<-q.slots
	return true
}

// wait returns true when a mutation waits, and false when the queue is closed and empty.
func (q *queue) wait() bool {
	for {
		q.mu.Lock()
		some, closed := len(q.waiting) > 0, q.closed
		q.mu.Unlock()
		if some || closed {
			return some
		}
		<-q.wake
	}
}

// size is how many mutations wait.
func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// take returns the mutations that have waited longest, at most limit; none when all of them were removed.
func (q *queue) take(limit int) []*mutation {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(limit, len(q.waiting))
	group := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	for range n {
		<-q.slots
	}
	return group
}

// close lets nothing more in. What waits already stays.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	close(q.closing)
	q.wakeUp()
}

func (q *queue) wakeUp() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
