package feed

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// slots is how many keys' positions can be distinguished. Keys that share a slot cost each other a look-up at a change.
const slots = 1 << 16

// Positions says how old a verdict may be. It is a table of fixed size: each key has a slot, and a slot holds the
// position of the last change of any key in it. Whoever changes a key calls [Positions.Apply] before the change is
// acknowledged. The zero value is an empty table. All methods may be called at any time from any goroutine.
type Positions struct {
	mu         sync.RWMutex // held while a group of events is applied
	applied    uint64
	table      [slots]atomic.Uint64
	changed    map[uuid.UUID]*Counts // by network
	completeAt atomic.Int64
	lease      lease

	waiting chan struct{} // closed when a change is applied; nil: nobody waits
}

var slotSeed = maphash.MakeSeed()

// Slot is the index of a key in a [Positions].
type Slot uint16

// SlotOf returns the slot of a key. It depends on the process.
func SlotOf(network uuid.UUID, keyID string) Slot {
	var h maphash.Hash
	h.SetSeed(slotSeed)
	_, _ = h.Write(network[:])
	_, _ = h.WriteString(keyID)
	return Slot(h.Sum64()) //nolint:gosec // the low 16 bits are the slot
}

// Apply applies changes, in the order of their positions, and returns when every reader sees them. Events that have
// been applied before are ignored.
func (p *Positions) Apply(events ...Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		e := &events[i]
		if e.Position <= p.applied {
			continue
		}
		if e.Kind == EventRestored { // any key may be another
			p.raise(e.Position)
		} else {
			p.table[SlotOf(e.Network, e.KeyID)].Store(e.Position)
		}
		p.applied = e.Position
		p.count(e)
		p.wake()
	}
}

// Reset says that any key may have changed: each slot is raised to a position, which is higher than all that have been
// applied.
func (p *Positions) Reset(at uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.raise(at)
	p.applied = at
	p.wake()
}

// raise raises every slot. mu is held.
func (p *Positions) raise(at uint64) {
	for i := range p.table {
		p.table[i].Store(at)
	}
}

// wake wakes who waits for a change. mu is held.
func (p *Positions) wake() {
	if p.waiting != nil {
		close(p.waiting)
		p.waiting = nil
	}
}

// After returns a channel that is closed when a change with a higher position than after is applied.
func (p *Positions) After(after uint64) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.applied > after {
		return alreadyClosed
	}
	if p.waiting == nil {
		p.waiting = make(chan struct{})
	}
	return p.waiting
}

var alreadyClosed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// AwaitAfter waits until a change with a higher position than after is applied. It returns ctx's error if ctx ends
// first.
func (p *Positions) AwaitAfter(ctx context.Context, after uint64) error {
	for p.Applied() <= after {
		select {
		case <-p.After(after):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Begin sets the position of an empty table to that of the last change in its feed, so that only later ones count.
func (p *Positions) Begin(at uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied = max(p.applied, at)
}

// Applied is the position up to which every change is in the table. A look-up notes it before it reads. It waits for a
// group of changes that is being applied, so a look-up that is repeated because of one begins after all of it.
func (p *Positions) Applied() uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.applied
}

// At is the position of the last change in a slot. A verdict with a lower position may be wrong.
func (p *Positions) At(s Slot) uint64 { return p.table[s].Load() }

// MarkComplete says that at the moment t every change that had been acknowledged anywhere was in the table.
func (p *Positions) MarkComplete(t time.Time) { p.completeAt.Store(t.UnixNano()) }

// CompleteAt is the last moment at which every change was known to be in the table, in Unix nanoseconds; 0 for never.
func (p *Positions) CompleteAt() int64 { return p.completeAt.Load() }

// Counts are numbers of changes, by [EventKind].
type Counts [eventKinds]uint64

// count counts a change. mu is held.
func (p *Positions) count(e *Event) {
	if e.Kind >= eventKinds {
		return
	}
	if p.changed == nil {
		p.changed = make(map[uuid.UUID]*Counts)
	}
	counts := p.changed[e.Network]
	if counts == nil {
		counts = new(Counts)
		p.changed[e.Network] = counts
	}
	counts[e.Kind]++
}

// Changed is how many changes of a kind have been applied since the table was made.
func (p *Positions) Changed(k EventKind) (n uint64) {
	if k >= eventKinds {
		return 0
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, counts := range p.changed {
		n += counts[k]
	}
	return n
}

// ChangedIn are the changes that have been applied since the table was made, by network.
func (p *Positions) ChangedIn() map[uuid.UUID]Counts {
	p.mu.RLock()
	defer p.mu.RUnlock()
	all := make(map[uuid.UUID]Counts, len(p.changed))
	for network, counts := range p.changed {
		all[network] = *counts
	}
	return all
}
