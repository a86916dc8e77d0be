package adminapi

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// How many failed attempts an address has, and how fast it gets new ones.
const (
	failureBurst    = 10
	failureInterval = 6 * time.Second
)

// The table of a [FailureLimiter]: sets × ways addresses.
const (
	limiterSets = 4096
	limiterWays = 4
)

// FailureLimiter counts failed attempts by address: ten, and then one every six seconds. An IPv6 address stands for its
// /64, which is what one subscriber has. It takes a fixed amount of memory (about 650 KB): a table of 16,384 addresses,
// in which an address that finds no place takes that of the one with the fewest failures among four. So a flood from
// many addresses can make the limiter forget, but cannot use up the attempts of anybody else. It is safe for concurrent
// use.
type FailureLimiter struct {
	seed  maphash.Seed
	start time.Time
	sets  []limiterSet
}

type limiterSet struct {
	mu   sync.Mutex
	ways [limiterWays]limiterEntry
}

// limiterEntry is the state of the generic cell rate algorithm (ATM Forum TM 4.0, section 4.4.2): the moment at which
// all attempts of an address will have been made good, counted from the limiter's start.
type limiterEntry struct {
	addr netip.Addr
	full time.Duration
}

// NewFailureLimiter makes a limiter in which nobody has failed yet.
func NewFailureLimiter() *FailureLimiter {
	return &FailureLimiter{seed: maphash.MakeSeed(), start: time.Now(), sets: make([]limiterSet, limiterSets)}
}

// take counts an attempt of an address before it is made, so that attempts at the same time cannot exceed the limit
// together. An attempt that must not be made is not counted, and wait is the time until the next one may.
func (l *FailureLimiter) take(addr netip.Addr) (wait time.Duration, ok bool) {
	addr = limitedAs(addr)
	now := time.Since(l.start)
	set := l.setOf(addr)
	set.mu.Lock()
	defer set.mu.Unlock()
	e := set.entry(addr, true)
	full := max(e.full, now) + failureInterval
	if wait = full - now - failureBurst*failureInterval; wait > 0 {
		return wait, false
	}
	e.full = full
	return 0, true
}

// giveBack takes back an attempt that did not fail.
func (l *FailureLimiter) giveBack(addr netip.Addr) {
	addr = limitedAs(addr)
	set := l.setOf(addr)
	set.mu.Lock()
	defer set.mu.Unlock()
	if e := set.entry(addr, false); e != nil {
		e.full -= failureInterval
	}
}

func (l *FailureLimiter) setOf(addr netip.Addr) *limiterSet {
	return &l.sets[maphash.Comparable(l.seed, addr)%limiterSets]
}

// entry finds the entry of an address, or makes one in the place of the entry with the least against it.
func (s *limiterSet) entry(addr netip.Addr, create bool) *limiterEntry {
	least := &s.ways[0]
	for i := range s.ways {
		e := &s.ways[i]
		if e.addr == addr && e.full != 0 {
			return e
		}
		if e.full < least.full {
			least = e
		}
	}
	if !create {
		return nil
	}
	*least = limiterEntry{addr: addr}
	return least
}

// limitedAs is the address that an address is counted as. All callers whose address is not known count as one.
func limitedAs(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr
	}
	subnet, err := addr.Prefix(64)
	if err != nil {
		return addr
	}
	return subnet.Addr()
}
