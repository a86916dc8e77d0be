package upstream

import "time"

// Call is one call of the upstream, at however many addresses.
type Call struct {
	Result  Result
	LookUps int // in it; 0: it is no batch of look-ups
	Took    time.Duration
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
func (u *Remote) Breakers() []BreakerStats {
	all := make([]BreakerStats, len(u.pool.addresses))
	current := int(u.pool.current.Load())
	for i, a := range u.pool.addresses {
		all[i] = BreakerStats{Address: a.name, State: a.breaker.State().String(), Current: i == current}
	}
	return all
}
