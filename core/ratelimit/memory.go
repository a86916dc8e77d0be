package ratelimit

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// DefaultMaxKeys is how many keys a [Memory] counts where nothing else is said: about 60 MiB when all are in use.
const DefaultMaxKeys = 1 << 20

// The layout of a [Memory].
const (
	shards = 64
	sample = 8 // how many counts are looked at to find one to drop
)

// Memory is a [Limiter] of one process. It holds no more keys than it was made for. A key whose whole quota is there
// again needs no count, and goes first; when all that are looked at owe something, the one that owes least is dropped,
// and so has its whole quota at once.
type Memory struct {
	base   time.Time // moments count from it on the steady clock
	seeds  [2]maphash.Seed
	limit  int // of a shard
	shards [shards]shard
}

// shard is one part of the keys, so that uses of different keys seldom wait for each other.
type shard struct {
	mu   sync.Mutex
	full map[digest]time.Duration
	_    [48]byte // a cache line of its own
}

// digest identifies a network and a key id: 128 bits under seeds of the process.
type digest [2]uint64

// NewMemory makes a limiter that counts up to maxKeys keys; 0 means [DefaultMaxKeys].
func NewMemory(maxKeys int) (*Memory, error) {
	if maxKeys < 0 {
		return nil, errors.New("rate limit: the number of keys is negative")
	}
	if maxKeys == 0 {
		maxKeys = DefaultMaxKeys
	}
	m := &Memory{
		base:  time.Now(),
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		limit: max(maxKeys/shards, 1),
	}
	for i := range m.shards {
		m.shards[i].full = make(map[digest]time.Duration)
	}
	return m, nil
}

// Take counts one use. It does not block and returns no error.
func (m *Memory) Take(
	_ context.Context, network core.NetworkID, keyID string, p core.RateLimitPolicy,
) (Result, error) {
	if p.Quota <= 0 || p.Window <= 0 {
		return Result{Allowed: true}, nil
	}
	c := CellOf(p, time.Nanosecond)
	d := m.digest(network, keyID)
	s := &m.shards[d[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Since(m.base) // under the lock: a key's moments do not go back
	full, known := s.full[d]
	r, next := c.Take(now, full)
	if !known {
		s.makeRoom(now, m.limit)
	}
	s.full[d] = next
	return r, nil
}

// GiveBack takes back a use that was counted and that was none after all.
func (m *Memory) GiveBack(network core.NetworkID, keyID string, p core.RateLimitPolicy) {
	if p.Quota <= 0 || p.Window <= 0 {
		return
	}
	d := m.digest(network, keyID)
	s := &m.shards[d[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if full, known := s.full[d]; known {
		s.full[d] = full - CellOf(p, time.Nanosecond).Interval
	}
}

// Close does nothing: a Memory owns nothing but memory.
func (m *Memory) Close() error { return nil }

// Len is how many keys have a count.
func (m *Memory) Len() int {
	n := 0
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		n += len(s.full)
		s.mu.Unlock()
	}
	return n
}

// makeRoom drops some counts that say nothing any more, and another one when the shard is full nevertheless. mu is
// held. Each new key looks at a few old ones, so that keys which are not used any more leave as others come.
func (s *shard) makeRoom(now time.Duration, limit int) {
	var soonest digest
	var when time.Duration
	looked := 0
	for d, full := range s.full {
		switch {
		case full <= now:
			delete(s.full, d)
		case when == 0 || full < when:
			soonest, when = d, full
		}
		looked++
		if looked == sample {
			break
		}
	}
	if len(s.full) >= limit {
		delete(s.full, soonest)
	}
}

func (m *Memory) digest(network core.NetworkID, keyID string) (d digest) {
	for i, seed := range m.seeds {
		var h maphash.Hash
		h.SetSeed(seed)
		_, _ = h.Write(network[:])
		_, _ = h.WriteString(keyID)
		d[i] = h.Sum64()
	}
	return d
}
