package upstream

import (
	"time"

	"github.com/sony/gobreaker/v2"
)

// Kind is what a call of the upstream was for, as metrics name it.
type Kind string

// The kinds of call.
const (
	KindBatch  Kind = "batch"  // look-ups
	KindRecord Kind = "record" // the record of a key, for its list of addresses
	KindSingle Kind = "single" // a verification for one client address
)

// Call is one call of the upstream, at however many addresses.
type Call struct {
	Kind   Kind
	Result Result
	Items  int // credentials in it
	Took   time.Duration
}

// Observer is told of calls, for metrics. It is called from several goroutines and must not block.
type Observer interface {
	Called(c Call)
}

type noObserver struct{}

// Called does nothing.
func (noObserver) Called(Call) {}

// BreakerStats is a reading of one address.
type BreakerStats struct {
	Address string // without a password
	State   string // "closed", "half-open" or "open"
	Current bool   // calls go here first
}

// Breakers reads the state of each address.
func (u *Upstream) Breakers() []BreakerStats {
	all := make([]BreakerStats, len(u.pool.addresses))
	current := int(u.pool.current.Load())
	for i, a := range u.pool.addresses {
		all[i] = BreakerStats{Address: a.name, State: stateName(a.breaker.State()), Current: i == current}
	}
	return all
}

func stateName(s gobreaker.State) string {
	switch s {
	case gobreaker.StateClosed:
		return "closed"
	case gobreaker.StateHalfOpen:
		return "half-open"
	default:
		return "open"
	}
}
