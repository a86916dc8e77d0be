package upstream

import (
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// floorLife is for how long an answer is held against the place of a change in the upstream's feed, and for how long a
// key is looked up past caches after a change whose place is not known. No copy of the upstream's data should be behind
// for longer; and an upstream that was replaced by another, which counts anew, is believed again.
const floorLife = 5 * time.Minute

// changes are the changes of keys that this node has heard of.
//
// Two counts are kept apart. The positions in table are this node's own: each change that passed through here takes the
// next one, and verdicts carry none, so that the verifier holds them against the one it noted before the look-up. The
// upstream's positions, which its answers name, are compared with each other only: they say whether an answer is older
// than a change that the upstream has acknowledged.
type changes struct {
	table feed.Positions

	mu       sync.Mutex
	own      uint64
	floors   map[feed.Slot]floor // by the slots of the table, so that it is bounded
	full     int                 // how many floors there have to be before they are looked through again
	unplaced time.Time           // the latest floor.unplaced
}

// floor is what is held against answers about a key: the place of its last change in the upstream's feed.
type floor struct {
	position uint64
	until    time.Time

	unplaced time.Time // until when caches may hold what was so before a change whose place is not known
}

// Forget makes every verdict on a key that was looked up before now be looked up again, before it returns. It is called
// when a change of the key has passed through here, after the upstream acknowledged it. Where the upstream told the
// change's place in its feed (else 0), an answer from before that place is not believed, whoever gives it. Where it has
// not, look-ups of the key ask for no-cache, for 5 minutes.
func (u *Upstream) Forget(network core.NetworkID, keyID string, position uint64) {
	u.changes.forget(network, keyID, position)
}

func (c *changes) forget(network core.NetworkID, keyID string, position uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.sweep(now)
	slot := feed.SlotOf(network, keyID)
	f := c.floors[slot]
	switch {
	case position == 0:
		f.unplaced = now.Add(floorLife)
		c.unplaced = f.unplaced
	case position >= f.position || !now.Before(f.until):
		// A higher floor stays for its own life only: it may be of an upstream that was replaced.
		f.position, f.until = position, now.Add(floorLife)
	}
	c.floors[slot] = f
	c.own++
	c.table.Apply(feed.Event{Position: c.own, Network: network, KeyID: keyID, Time: now})
}

// sweep takes out what is over, once there is twice as much as the last time left: an import of very many keys through
// here does not look through all of them for each.
func (c *changes) sweep(now time.Time) {
	const much = 1024
	if len(c.floors) < max(c.full, much) {
		return
	}
	for slot, f := range c.floors {
		if !now.Before(f.until) && !now.Before(f.unplaced) {
			delete(c.floors, slot)
		}
	}
	c.full = 2 * len(c.floors)
}

// outdated tells whether a key changed after a place of this node's own: whoever noted the place before asking about
// the key sees by himself that the answer does not count, and asks again.
func (c *changes) outdated(network core.NetworkID, keyID string, began uint64) bool {
	return began < c.table.At(feed.SlotOf(network, keyID))
}

// believes tells whether an answer about a key, from a place in the upstream's feed, is not older than the last change
// of it that passed through here.
func (c *changes) believes(network core.NetworkID, keyID string, position uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.floors[feed.SlotOf(network, keyID)]
	return !ok || position >= f.position || !time.Now().Before(f.until)
}

// pastCaches tells whether a cache of the upstream's may hold what was so before a change of a key that passed through
// here. An empty id is of a key that is not known, which may be any.
func (c *changes) pastCaches(network core.NetworkID, keyID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if keyID == "" {
		return time.Now().Before(c.unplaced)
	}
	return time.Now().Before(c.floors[feed.SlotOf(network, keyID)].unplaced)
}
