package upstream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// floorLife is for how long an answer is held against the place of a change in the upstream's feed. No copy of its data
// should be behind for longer; and an upstream that was replaced by another, which counts anew, is believed again.
const floorLife = 5 * time.Minute

// changes are the changes of keys that this node has heard of.
//
// Two counts are kept apart. The positions in table are this node's own: each change that passed through here takes the
// next one, and verdicts carry none, so that the verifier holds them against the one it noted before the look-up. The
// upstream's positions, which its answers name, are compared with each other only: they say whether an answer is older
// than a change that the upstream has acknowledged.
type changes struct {
	table   core.Positions
	highest atomic.Uint64 // the highest of the upstream's positions that was seen

	mu     sync.Mutex
	own    uint64
	floors map[core.Slot]floor // by the slots of the table, so that it is bounded
	full   int                 // how many floors there have to be before they are looked through again
}

// floor is the place of the last change of a key in the upstream's feed.
type floor struct {
	position uint64
	until    time.Time
}

// Forget makes every verdict on a key that was looked up before now be looked up again, before it returns. It is called
// when a change of the key has passed through here, after the upstream acknowledged it. Where the upstream told the
// change's place in its feed (else 0), an answer from before that place is not believed, whoever gives it.
func (u *Upstream) Forget(network core.NetworkID, keyID string, position uint64) {
	u.changes.forget(network, keyID, position)
}

func (c *changes) forget(network core.NetworkID, keyID string, position uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if position > 0 {
		c.sweep(now)
		slot := core.SlotOf(network, keyID)
		// A higher floor stays for its own life only: it may be of an upstream that was replaced.
		if f := c.floors[slot]; position >= f.position || !now.Before(f.until) {
			c.floors[slot] = floor{position: position, until: now.Add(floorLife)}
		}
	}
	c.own++
	c.table.Apply(core.Event{Position: c.own, Network: network, KeyID: keyID, Time: now})
}

// sweep takes out what is over, once there is twice as much as the last time left: an import of very many keys through
// here does not look through all of them for each.
func (c *changes) sweep(now time.Time) {
	const much = 1024
	if len(c.floors) < max(c.full, much) {
		return
	}
	for slot, f := range c.floors {
		if !now.Before(f.until) {
			delete(c.floors, slot)
		}
	}
	c.full = 2 * len(c.floors)
}

// see notes a position that the upstream named.
func (c *changes) see(position uint64) {
	for {
		highest := c.highest.Load()
		if position <= highest || c.highest.CompareAndSwap(highest, position) {
			return
		}
	}
}

// outdated tells whether a key changed after a place of this node's own: whoever noted the place before asking about
// the key sees by himself that the answer does not count, and asks again.
func (c *changes) outdated(network core.NetworkID, keyID string, began uint64) bool {
	return began < c.table.At(core.SlotOf(network, keyID))
}

// believes tells whether an answer about a key, from a place in the upstream's feed, is not older than the last change
// of it that passed through here.
func (c *changes) believes(network core.NetworkID, keyID string, position uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.floors[core.SlotOf(network, keyID)]
	return !ok || position >= f.position || !time.Now().Before(f.until)
}
