package verify

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

// overhead is what the places of an entry in the three maps of ristretto take, measured at several sizes (TestMemory
// holds it to the truth).
const overhead = 232

// typicalCost is what the tables of fixed size are laid out for. It has no influence on what fits.
const typicalCost = 768

// cache holds good verdicts and the others apart, so that the others cannot push the good ones out. Reads wait for
// nothing; a write may be lost or be seen late.
type cache struct {
	good, bad *tier

	mu     sync.RWMutex // held while ristretto is read, which must not race its end
	closed bool
}

func newCache(maxBytes int64) (*cache, error) {
	small := min(maxBytes/8, 16<<20)
	good, err := newTier(maxBytes-small, true)
	if err != nil {
		return nil, err
	}
	bad, err := newTier(small, false)
	if err != nil {
		good.lfu.Close()
		return nil, err
	}
	return &cache{good: good, bad: bad}, nil
}

// close empties the cache. No write may be under way.
func (c *cache) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.good.lfu.Close()
	c.bad.lfu.Close()
	for i := range c.good.hot {
		c.good.hot[i].Store(nil)
	}
}

// get returns the entry of a digest in one tier, whatever its age.
func (c *cache) get(t *tier, d *digest) *entry {
	if e := t.peek(d); e != nil {
		return e
	}
	e := c.lookUp(t, d)
	if e != nil {
		t.promote(e)
	}
	return e
}

// lookUp is a read of ristretto that close waits for.
func (c *cache) lookUp(t *tier, d *digest) *entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return nil
	}
	e, ok := t.lfu.Get(d.index())
	if !ok || e.digest != *d {
		return nil
	}
	return e
}

// put stores an entry in the tier where it belongs, unless the other knows better, and takes it out of the other.
func (c *cache) put(e *entry, good bool) {
	to, from := c.bad, c.good
	if good {
		to, from = c.good, c.bad
	}
	if !c.retract(from, e) {
		return
	}
	to.put(e)
}

// retract takes the entry that e makes obsolete out of a tier. It returns false when that entry is the newer one.
func (c *cache) retract(from *tier, e *entry) bool {
	other := c.lookUp(from, &e.digest)
	if other == nil {
		if from == c.good {
			// An older good verdict may be on its way into the tier. What ristretto is told, it does in that order.
			from.lfu.Del(e.digest.index())
		}
		return true
	}
	if !e.newer(other) {
		return false
	}
	other.state.Or(stateRetracted)
	from.lfu.Del(e.digest.index())
	return true
}

// tier is one cache of entries, bounded by the memory that they take.
type tier struct {
	lfu *ristretto.Cache[uint64, *entry]

	// hot finds the entries that are asked for most with one atomic read. An entry is in it only while it is in lfu. It
	// reads in 12 to 15 ns what takes ristretto 170 to 360 (10,000 keys):
	// go test ./core/verify -run '^$' -bench Cache -count 3
	hot []atomic.Pointer[entry]

	entries, bytes atomic.Int64 // those on their way into lfu included
}

func newTier(maxBytes int64, hot bool) (*tier, error) {
	t := new(tier)
	const ristrettoBuffers = 300 << 10
	expected := maxBytes / typicalCost
	counters := int64(1) << (bits.Len64(uint64(8*expected)) - 1) //nolint:gosec // positive
	const bytesPerCounter = 4                                    // half a byte in four rows, 16 bits of a Bloom filter
	room := maxBytes - ristrettoBuffers - bytesPerCounter*counters
	if hot {
		slots := int64(1) << (bits.Len64(uint64(expected)) - 1) //nolint:gosec // positive
		t.hot = make([]atomic.Pointer[entry], min(slots, 1<<16))
		room -= 8 * int64(len(t.hot))
	}
	var err error
	t.lfu, err = ristretto.NewCache(&ristretto.Config[uint64, *entry]{
		NumCounters:        counters,
		MaxCost:            max(room, 1),
		BufferItems:        64,
		KeyToHash:          func(key uint64) (uint64, uint64) { return key, 0 },
		IgnoreInternalCost: true, // it is in cost
		ShouldUpdate:       func(cur, prev *entry) bool { return cur.digest != prev.digest || cur.newer(prev) },
		OnExit:             t.left,
	})
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return t, nil
}

// cost is the memory of an entry in bytes.
func cost(e *entry) int64 { return overhead + int64(e.size) }

func (t *tier) put(e *entry) {
	c := cost(e)
	t.entries.Add(1)
	t.bytes.Add(c)
	if !t.lfu.Set(e.digest.index(), e, c) {
		t.left(e)
	}
}

// left notes that an entry is in the tier no more. Ristretto calls it with nil for what it did not find.
func (t *tier) left(e *entry) {
	if e == nil {
		return
	}
	e.state.Or(stateLeft)
	t.demote(e)
	t.entries.Add(-1)
	t.bytes.Add(-cost(e))
}

func (t *tier) size() (entries, bytes int64) { return t.entries.Load(), t.bytes.Load() }

// place is where an entry would be in hot.
func (t *tier) place(d *digest) *atomic.Pointer[entry] {
	return &t.hot[int(binary.LittleEndian.Uint16(d[8:]))&(len(t.hot)-1)]
}

// peek returns the entry of a digest if it is in hot.
func (t *tier) peek(d *digest) *entry {
	if t.hot == nil {
		return nil
	}
	if e := t.place(d).Load(); e != nil && e.digest == *d {
		return e
	}
	return nil
}

// promote puts an entry into hot. One that leaves the tier meanwhile is taken out again, by whoever comes second.
func (t *tier) promote(e *entry) {
	if t.hot == nil {
		return
	}
	t.place(&e.digest).Store(e)
	if e.state.Load()&stateLeft != 0 {
		t.demote(e)
	}
}

func (t *tier) demote(e *entry) {
	if t.hot != nil {
		t.place(&e.digest).CompareAndSwap(e, nil)
	}
}
