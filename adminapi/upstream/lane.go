package upstream

import (
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// ticket is one question of a unit.
type ticket[Q, A any] struct {
	question Q
	size     int
	deadline time.Time
	unit     *unit[A]
	index    int  // in the unit
	settled  bool // the unit has its outcome

	lane       *lane[Q, A] // nil: it does not wait
	prev, next *ticket[Q, A]
}

// unit is what one caller asks at once.
type unit[A any] struct {
	outcomes []outcome[A]
	open     int           // questions without an outcome
	done     chan struct{} // closed when there are none
}

// outcome is the answer to a question, or why there is none.
type outcome[A any] struct {
	answer A
	err    error
}

// settle gives a ticket its outcome. Only the first counts.
func (t *ticket[Q, A]) settle(o outcome[A]) {
	if t.settled {
		return
	}
	t.settled = true
	t.unit.outcomes[t.index] = o
	t.unit.open--
	if t.unit.open == 0 {
		close(t.unit.done)
	}
}

// lane is what waits for one network, the oldest first.
type lane[Q, A any] struct {
	network     core.NetworkID
	first, last *ticket[Q, A]
}

// push adds a ticket at the end.
func (l *lane[Q, A]) push(t *ticket[Q, A]) {
	t.lane, t.prev, t.next = l, l.last, nil
	if l.last == nil {
		l.first = t
	} else {
		l.last.next = t
	}
	l.last = t
}

// remove takes a ticket out, wherever it is.
func (l *lane[Q, A]) remove(t *ticket[Q, A]) {
	if t.prev == nil {
		l.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		l.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.lane, t.prev, t.next = nil, nil, nil
}
