package adminapi

import (
	"context"
	"net/netip"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

// How many failed attempts an address has, and how fast it gets new ones.
const (
	failureBurst    = 10
	failureInterval = 6 * time.Second
)

var failurePolicy = core.RateLimitPolicy{Quota: failureBurst, Window: failureBurst * failureInterval}

// maxFailing is how many addresses are counted. One that finds no room takes that of one with few failures, so a flood
// from many addresses can make the limiter forget, but cannot use up the attempts of anybody else.
const maxFailing = 1 << 14

// FailureLimiter counts failed attempts by address, in each network on its own: ten, and then one every six seconds. An
// IPv6 address counts as its /64, which is what one subscriber has. It is safe for concurrent use.
type FailureLimiter struct{ memory *ratelimit.Memory }

// NewFailureLimiter makes a limiter in which nobody has failed yet.
func NewFailureLimiter() *FailureLimiter {
	memory, err := ratelimit.NewMemory(maxFailing)
	if err != nil {
		panic(err) // the number is not negative
	}
	return &FailureLimiter{memory}
}

// take counts an attempt of an address before it is made, so that attempts at the same time cannot exceed the limit
// together. An attempt that must not be made is not counted, and wait is the time until the next one may.
func (l *FailureLimiter) take(network core.NetworkID, addr netip.Addr) (wait time.Duration, ok bool) {
	key := limitedAs(addr)
	r, err := l.memory.Take(context.Background(), network, string(key[:]), failurePolicy)
	return r.RetryAfter, err == nil && r.Allowed
}

// giveBack takes back an attempt that did not fail.
func (l *FailureLimiter) giveBack(network core.NetworkID, addr netip.Addr) {
	key := limitedAs(addr)
	l.memory.GiveBack(network, string(key[:]), failurePolicy)
}

// limitedAs is what an address is counted as. All callers whose address is not known count as one.
func limitedAs(addr netip.Addr) (key [17]byte) {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return key
	}
	key[0] = 1
	if subnet, err := addr.Prefix(64); addr.Is6() && err == nil {
		addr = subnet.Addr()
	}
	bytes := addr.As16()
	copy(key[1:], bytes[:])
	return key
}
