package upstream

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// errDivide in a call's error says that one item may have spoilt the call for the others: they are asked about again in
// two halves.
var errDivide = errors.New("the batch was refused as a whole")

// limits bound a batcher.
type limits struct {
	calls int // in flight
	queue int // questions that wait
	items int // questions of one call
	bytes int // of one call; a larger question goes alone
}

// batcher makes few calls of many questions. It has no timer: while a call may go out, a question goes at once; else it
// waits in its network's lane, first in, first out, and a call that returns takes with it as many of one lane as it
// may. Lanes take turns. Calls belong to nobody who asks: one who goes away takes his questions out of the queue and
// harms no others.
type batcher[Q, A any] struct {
	limits limits
	size   func(Q) int // of a question in a call, in bytes
	call   func(context.Context, core.NetworkID, []Q) ([]A, error)

	detached context.Context //nolint:containedctx // of all calls: it ends with the batcher and belongs to no caller
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex // guards what follows, and units and tickets
	closed   bool
	lanes    map[core.NetworkID]*lane[Q, A] // those in which something waits
	turns    []*lane[Q, A]                  // the same, the next one first
	served   core.NetworkID                 // whose turn was last
	waiting  int
	inFlight int
}

func newBatcher[Q, A any](
	l limits, size func(Q) int, call func(context.Context, core.NetworkID, []Q) ([]A, error),
) *batcher[Q, A] {
	b := &batcher[Q, A]{limits: l, size: size, call: call, lanes: make(map[core.NetworkID]*lane[Q, A])}
	b.detached, b.stop = context.WithCancel(context.Background()) //nolint:gosec // close calls it
	return b
}

// close refuses what waits, cuts calls in flight short and waits for their end.
func (b *batcher[Q, A]) close() {
	b.mu.Lock()
	b.closed = true
	for _, l := range b.turns {
		for l.first != nil {
			t := l.first
			l.remove(t)
			t.settle(outcome[A]{err: errClosed})
		}
	}
	clear(b.lanes)
	b.turns, b.waiting = nil, 0
	b.mu.Unlock()
	b.stop()
	b.running.Wait()
}

// load is how many questions wait, and how many calls are out.
func (b *batcher[Q, A]) load() (waiting, inFlight int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting, b.inFlight
}

// ask has questions answered. The outcomes are in their order. ctx has a deadline, which holds for the wait and the
// call together.
func (b *batcher[Q, A]) ask(ctx context.Context, network core.NetworkID, questions []Q) []outcome[A] {
	u := &unit[A]{outcomes: make([]outcome[A], len(questions)), open: len(questions), done: make(chan struct{})}
	if len(questions) == 0 {
		return u.outcomes
	}
	deadline, _ := ctx.Deadline()
	tickets := make([]*ticket[Q, A], len(questions))
	for i, q := range questions {
		tickets[i] = &ticket[Q, A]{question: q, size: b.size(q), deadline: deadline, unit: u, index: i}
	}
	b.submit(network, tickets)
	select {
	case <-u.done:
	case <-ctx.Done():
		b.leave(tickets, errLate(ctx))
	}
	return u.outcomes
}

// submit puts tickets into their lane, all before the first goes, so that they go together. What there is no room for
// is refused.
func (b *batcher[Q, A]) submit(network core.NetworkID, tickets []*ticket[Q, A]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		for _, t := range tickets {
			t.settle(outcome[A]{err: errClosed})
		}
		return
	}
	l := b.lanes[network]
	if l == nil {
		l = &lane[Q, A]{network: network}
		b.lanes[network], b.turns = l, append(b.turns, l)
	}
	for _, t := range tickets {
		l.push(t)
	}
	b.waiting += len(tickets)
	b.send()
	for _, t := range slices.Backward(tickets) {
		if b.waiting <= b.limits.queue || t.lane == nil {
			break
		}
		b.drop(t)
		t.settle(outcome[A]{err: errQueueFull})
	}
}

// leave ends tickets whose caller waits no longer.
func (b *batcher[Q, A]) leave(tickets []*ticket[Q, A], err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range tickets {
		if t.lane != nil {
			b.drop(t)
		}
		t.settle(outcome[A]{err: err})
	}
}

// drop takes a ticket out of the queue. mu is held.
func (b *batcher[Q, A]) drop(t *ticket[Q, A]) {
	l := t.lane
	l.remove(t)
	b.waiting--
	if l.first == nil {
		delete(b.lanes, l.network)
		b.turns = slices.DeleteFunc(b.turns, func(other *lane[Q, A]) bool { return other == l })
	}
}

// send makes calls while there are some to make and they may go out. mu is held.
func (b *batcher[Q, A]) send() {
	for b.inFlight < b.limits.calls && len(b.turns) > 0 {
		if len(b.turns) > 1 && b.turns[0].network == b.served {
			b.turns = append(b.turns[1:], b.turns[0])
		}
		l := b.turns[0]
		batch := b.take(l)
		if len(batch) == 0 {
			continue
		}
		b.served = l.network
		b.inFlight++
		b.running.Go(func() { b.run(l.network, batch) })
	}
}

// take removes the next call's tickets from a lane. Those whose time is over get an error. mu is held.
func (b *batcher[Q, A]) take(l *lane[Q, A]) []*ticket[Q, A] {
	var batch []*ticket[Q, A]
	now, bytes := time.Now(), 0
	for l.first != nil && len(batch) < b.limits.items {
		t := l.first
		if late := !now.Before(t.deadline); late {
			b.drop(t)
			t.settle(outcome[A]{err: errOvertime})
			continue
		}
		if bytes += t.size; bytes > b.limits.bytes && len(batch) > 0 {
			break
		}
		b.drop(t)
		batch = append(batch, t)
	}
	return batch
}

// run makes one call, and sends the next.
func (b *batcher[Q, A]) run(network core.NetworkID, batch []*ticket[Q, A]) {
	deadline := batch[0].deadline
	for _, t := range batch {
		if t.deadline.After(deadline) {
			deadline = t.deadline
		}
	}
	ctx, cancel := context.WithDeadline(b.detached, deadline)
	defer cancel()
	b.answer(ctx, network, batch)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight--
	if !b.closed {
		b.send()
	}
}

// answer settles tickets by a call, or by calls for parts of them when one item spoils it for the others. The calls go
// one after the other: a spoilt batch takes no more than its own place.
func (b *batcher[Q, A]) answer(ctx context.Context, network core.NetworkID, batch []*ticket[Q, A]) {
	questions := make([]Q, len(batch))
	for i, t := range batch {
		questions[i] = t.question
	}
	answers, err := b.guarded(ctx, network, questions)
	if err == nil && len(answers) != len(batch) {
		err = fmt.Errorf("%d answers to %d questions", len(answers), len(batch))
	}
	if half := len(batch) / 2; half > 0 && errors.Is(err, errDivide) {
		for _, part := range [][]*ticket[Q, A]{batch[:half], batch[half:]} {
			if part = b.open(part); len(part) > 0 {
				b.answer(ctx, network, part)
			}
		}
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, t := range batch {
		if err != nil {
			t.settle(outcome[A]{err: err})
		} else {
			t.settle(outcome[A]{answer: answers[i]})
		}
	}
}

// open returns those tickets that somebody waits for.
func (b *batcher[Q, A]) open(batch []*ticket[Q, A]) []*ticket[Q, A] {
	b.mu.Lock()
	defer b.mu.Unlock()
	var open []*ticket[Q, A]
	for _, t := range batch {
		if !t.settled {
			open = append(open, t)
		}
	}
	return open
}

// guarded calls, and makes an error of a panic: it would end the process.
func (b *batcher[Q, A]) guarded(ctx context.Context, network core.NetworkID, questions []Q) (answers []A, err error) {
	defer func() {
		if p := recover(); p != nil {
			// The value may hold anything, a credential too; the trace holds code only.
			answers, err = nil, fmt.Errorf("the call panicked with a %T\n%s", p, debug.Stack())
		}
	}()
	return b.call(ctx, network, questions)
}
