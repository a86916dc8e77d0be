package upstream

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// The states of a key that are no set of scopes.
const (
	absent  = "(absent)"
	revoked = "(revoked)"
)

// action is what an operation does to a key.
type action string

const (
	reads   action = "reads"
	creates action = "creates"
	updates action = "updates"
	revokes action = "revokes"
	removes action = "removes"
)

// effect is what became of a change.
type effect string

const (
	made       effect = "done"
	notAllowed effect = "refused" // the state of the key did not allow it
	unclear    effect = "unknown" // it was made, is made later, or is never made
)

// operation is one call of a history.
type operation struct {
	key    string
	action action
	state  string // that was read, or that the change brings about

	effect effect // of a change

	edge  string        // of a read: where, also of one of several nodes; empty: at the only node
	bound time.Duration // of a read: how long before its call the state may have been current
	after *operation    // of a read: a change that the edge had said before that it has applied

	call, returned int64 // of the history's clock
}

func (o *operation) String() string {
	s := fmt.Sprintf("%9.6f to %9.6f: %s %s %s", float64(o.call)/1e9, float64(o.returned)/1e9, o.action, o.key, o.state)
	if o.action != reads {
		return s + ", " + string(o.effect)
	}
	return s + " at " + o.edge + fmt.Sprintf(" (at most %s old)", o.bound)
}

// confirmation says that an edge has applied a change.
type confirmation struct {
	edge   string
	change *operation
}

// history is what was done to keys, and what was read of them. Its methods may be called from several goroutines.
type history struct {
	start time.Time

	mu            sync.Mutex
	last          int64
	operations    []*operation
	confirmations []confirmation
}

// now is the time since the start in nanoseconds. No two readings are equal: of two operations that do not overlap, it
// is known which was first, also on a clock that stands still meanwhile.
func (h *history) now() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = max(h.last+1, int64(time.Since(h.start)))
	return h.last
}

func (h *history) add(o *operation, confirmedBy ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, o)
	for _, edge := range confirmedBy {
		h.confirmations = append(h.confirmations, confirmation{edge, o})
	}
}

// requirement is what an operation must not be older than.
type requirement struct {
	from    int64        // its earliest moment
	applied []*operation // changes of its key that were made before
}

// requirementOf is when the state may have been current that an operation read, at the earliest.
//
// At the only node, that is the call: whatever was acknowledged before it counts.
//
// An edge, or one of several nodes, may answer with a state that was current within a bound before the call, but with
// none from before a change that it has confirmed. If that change is one of the same key, it has to come before. What
// had been acknowledged before the call of such a change, of whatever key, has a lower position in the feed, so the
// edge has applied it as well: then the state must have been current after that call.
func (h *history) requirementOf(o *operation) requirement {
	r := requirement{from: o.call}
	if o.action != reads || o.edge == "" {
		return r
	}
	r.from -= int64(o.bound)
	apply := func(change *operation) {
		if change.returned >= o.call {
			return
		}
		r.from = max(r.from, change.call)
		if change.key == o.key {
			r.applied = append(r.applied, change)
		}
	}
	for i := range h.confirmations {
		if c := &h.confirmations[i]; c.edge == o.edge {
			apply(c.change)
		}
	}
	if o.after != nil {
		apply(o.after)
	}
	return r
}

// version is what a key is: its state, and which of the changes that edges have confirmed were made.
type version struct {
	state   string
	applied marks
}

// marks is a set of numbers of confirmed changes of a key.
type marks [4]uint64

func (m *marks) add(number int) { m[number/64] |= 1 << (number % 64) }

func (m *marks) hold(others *marks) bool {
	for i := range others {
		if m[i]&others[i] != others[i] {
			return false
		}
	}
	return true
}

// step is an operation as the model has it.
type step struct {
	*operation
	from, to int64
	mark     marks // of a confirmed change: itself; of a read: the changes that come before
}

// register is a key as a register: what is read is what was written last. An operation may take effect at any moment
// between its earliest one and its return, see requirementOf.
func register() porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) (parts [][]porcupine.Operation) {
			byKey := make(map[string][]porcupine.Operation)
			for _, o := range all {
				key := stepOf(o.Input).key
				byKey[key] = append(byKey[key], o)
			}
			for _, part := range byKey {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return version{state: absent} },
		Step: func(state, input, _ any) (bool, any) {
			now := state.(version) //nolint:errcheck,forcetypeassert // as Init makes it
			o := stepOf(input)
			if o.action == reads {
				return now.state == o.state && now.applied.hold(&o.mark), now
			}
			next, allowed := o.next(now.state)
			switch {
			case o.effect == notAllowed:
				return !allowed, now
			case !allowed:
				return o.effect == unclear, now
			}
			for i := range o.mark {
				now.applied[i] |= o.mark[i]
			}
			now.state = next
			return true, now
		},
	}
}

// stepOf is an input of the model.
func stepOf(input any) *step { return input.(*step) } //nolint:errcheck,forcetypeassert // nothing else is one

// next is the state of a key after a change, if its state allows that.
func (o *operation) next(now string) (next string, allowed bool) {
	switch o.action {
	case creates:
		return o.state, now == absent
	case updates:
		return o.state, now != absent && now != revoked
	case revokes:
		return revoked, now != absent && now != revoked
	case removes:
		return absent, now != absent
	default:
		return now, true
	}
}

// judgeTimeout ends the search for an order of operations where there is none: it grows with each operation.
const judgeTimeout = 20 * time.Second

// judge returns what is wrong with a history, or nothing. A change with an unclear effect never returns: at the end it
// has no effect on anything.
func (h *history) judge() string {
	result, info := porcupine.CheckOperationsVerbose(register(), h.steps(), judgeTimeout)
	if result == porcupine.Ok {
		return ""
	}
	return h.explain(info)
}

// steps are the operations as the model has them.
func (h *history) steps() (all []porcupine.Operation) {
	numbers := make(map[*operation]int)
	perKey := make(map[string]int)
	number := func(o *operation) {
		if _, known := numbers[o]; !known {
			numbers[o] = perKey[o.key]
			perKey[o.key]++
		}
	}
	for i := range h.confirmations {
		number(h.confirmations[i].change)
	}
	for _, o := range h.operations {
		if o.after != nil {
			number(o.after)
		}
	}
	steps := make(map[string][]*step)
	for _, o := range h.operations {
		required := h.requirementOf(o)
		s := &step{operation: o, from: required.from, to: o.returned}
		if n, confirmed := numbers[o]; confirmed {
			s.mark.add(n)
		}
		for _, change := range required.applied {
			s.mark.add(numbers[change])
		}
		if o.effect == unclear {
			s.to = math.MaxInt64
		}
		steps[o.key] = append(steps[o.key], s)
	}
	for _, of := range steps {
		for _, s := range of {
			if !slices.ContainsFunc(of, s.follows) {
				all = append(all, porcupine.Operation{ClientId: len(all), Input: s, Call: s.from, Return: s.to})
			}
		}
	}
	return all
}

// follows reports whether a read can take effect right after another one that has, so that it need not be judged: both
// read the same state, and the other may not do so at any moment at which this one may not.
func (s *step) follows(other *step) bool {
	return s != other && s.action == reads && other.action == reads && s.state == other.state &&
		s.from <= other.from && other.to <= s.to && other.mark.hold(&s.mark)
}

// explain describes the part of a history for which no order was found: what is around the first operation that the
// longest order leaves out.
func (h *history) explain(info porcupine.LinearizationInfo) string {
	var text strings.Builder
	for _, part := range info.PartialLinearizationsOperations() {
		if len(part) == 0 {
			continue
		}
		longest := slices.MaxFunc(part, func(a, b []porcupine.Operation) int { return len(a) - len(b) })
		placed := make(map[*operation]bool)
		for _, o := range longest {
			placed[stepOf(o.Input).operation] = true
		}
		key := stepOf(longest[0].Input).key
		var of []*operation
		for _, o := range h.operations {
			if o.key == key {
				of = append(of, o)
			}
		}
		slices.SortFunc(of, func(a, b *operation) int { return int(a.returned - b.returned) })
		first := slices.IndexFunc(of, func(o *operation) bool { return !placed[o] && o.effect != unclear })
		if first < 0 || text.Len() > 0 {
			continue
		}
		required := h.requirementOf(of[first])
		fmt.Fprintf(&text, "no order is found for\n  %s\nwhich must not be older than %.6f, nor than %v, among\n",
			of[first], float64(required.from)/1e9, required.applied)
		for _, o := range of {
			if o.action != reads && o.call < of[first].returned {
				fmt.Fprintf(&text, "  %s\n", o)
			}
		}
	}
	return text.String()
}
