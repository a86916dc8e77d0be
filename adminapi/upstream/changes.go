package upstream

import (
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// floorLifetime is for how long an answer is compared with the feed position of a change at the upstream, and for how
// long a key is looked up with no-cache after a change whose position is not known. No copy of the
// upstream's data should be behind for longer; and answers of an upstream that was replaced by another, which counts
// anew, are accepted again.
const floorLifetime = 5 * time.Minute

// changes are the changes of keys that this node knows of.
//
// There are two counts. The positions in table are this node's own: each change that passed through here takes the next
// one, and verdicts carry none, so that the verifier compares them with the one it noted before the look-up. The
// upstream's positions, which its answers name, are compared with each other only: they say whether an answer is older
// than a change that the upstream has acknowledged.
type changes struct {
	table feed.Positions

	mu           sync.Mutex
	own          uint64
	floors       map[feed.Slot]floor // by the slots of the table, so that it is bounded
	full         int                 // how many floors there have to be before the next sweep
	noCacheUntil time.Time           // the latest floor.noCacheUntil
	all          floor               // of every key: events about any may have been missed before its position
}

// floor is what answers about a key are compared with: the upstream's feed position of the key's last change.
type floor struct {
	position uint64
	until    time.Time

	noCacheUntil time.Time // until when caches may hold answers from before a change whose position is not known
}

// Forget makes every verdict on a key that was looked up before now be looked up again, before it returns. It is called
// when a change of the key has passed through here, after the upstream acknowledged it. Where the upstream named the
// change's feed position (else 0), an answer from an earlier position is refused, whichever address gives it. Where it
// has not, look-ups of the key ask for no-cache, for 5 minutes.
func (u *Remote) Forget(network core.NetworkID, keyID string, position uint64) {
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
		f.noCacheUntil = now.Add(floorLifetime)
		c.noCacheUntil = f.noCacheUntil
	case position >= f.position || !now.Before(f.until):
		// A higher floor stays for its own lifetime only: it may be of an upstream that was replaced.
		f.position, f.until = position, now.Add(floorLifetime)
	}
	c.floors[slot] = f
	c.own++
	c.table.Apply(feed.Event{Position: c.own, Network: network, KeyID: keyID, Time: now})
}

// reset makes every verdict that was looked up before now be looked up again: any key may have changed, before a
// position in the upstream's feed. Positions in the feed before mean nothing in this one.
func (c *changes) reset(position uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for slot, f := range c.floors {
		c.floors[slot] = floor{noCacheUntil: f.noCacheUntil} // a cache may hold what it held before
	}
	c.all.position, c.all.until = position, time.Now().Add(floorLifetime)
	c.own++
	c.table.Reset(c.own)
}

// ForgetAll is [Remote.Forget] of every key, for a change that passed through here and may have been of any.
func (u *Remote) ForgetAll(position uint64) { u.changes.forgetAll(position) }

func (c *changes) forgetAll(position uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	switch {
	case position == 0:
		c.all.noCacheUntil = now.Add(floorLifetime)
	case position >= c.all.position || !now.Before(c.all.until):
		c.all.position, c.all.until = position, now.Add(floorLifetime)
	}
	c.own++
	c.table.Reset(c.own)
}

// sweep removes floors that have expired, once there are twice as many as the last sweep left: an import of very many
// keys does not check all floors for each key.
func (c *changes) sweep(now time.Time) {
	const much = 1024
	if len(c.floors) < max(c.full, much) {
		return
	}
	for slot, f := range c.floors {
		if !now.Before(f.until) && !now.Before(f.noCacheUntil) {
			delete(c.floors, slot)
		}
	}
	c.full = 2 * len(c.floors)
}

// outdated reports whether a key changed after one of this node's own positions: whoever noted the position before a
// look-up of the key does not use the answer, and asks again.
func (c *changes) outdated(network core.NetworkID, keyID string, began uint64) bool {
	return began < c.table.At(feed.SlotOf(network, keyID))
}

// upToDate reports whether an answer about a key, from a position of the upstream's feed, is not older than the last
// change of the key that is known here.
func (c *changes) upToDate(network core.NetworkID, keyID string, position uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.floors[feed.SlotOf(network, keyID)]
	return (position >= f.position || !time.Now().Before(f.until)) &&
		(position >= c.all.position || !time.Now().Before(c.all.until))
}

// skipsCaches reports whether a cache of the upstream's may hold an answer from before a change of a key that passed
// through here. An empty id is that of a key that is not known, which may be any.
func (c *changes) skipsCaches(network core.NetworkID, keyID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Before(c.all.noCacheUntil) {
		return true
	}
	if keyID == "" {
		return now.Before(c.noCacheUntil)
	}
	return now.Before(c.floors[feed.SlotOf(network, keyID)].noCacheUntil)
}
