package upstream

import (
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Kind is what a call of the upstream was for, as metrics name it.
type Kind string

// The kinds of call.
const (
	KindBatch  Kind = "batch"  // look-ups
	KindRecord Kind = "record" // the record of a key, for its list of addresses
	KindSingle Kind = "single" // a verification on behalf of one address
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

type nobody struct{}

// Called does nothing.
func (nobody) Called(Call) {}

// Stats is a reading of an upstream.
type Stats struct {
	Calls    map[Result]uint64
	Position uint64 // the highest place in its feed that the upstream has named
	Breakers []BreakerStats
}

// BreakerStats is a reading of one address.
type BreakerStats struct {
	Address string // without a password
	State   string // "closed", "half-open" or "open"
	Current bool   // calls go here first
}

// tally counts calls by result.
type tally struct{ counts [len(Results)]atomic.Uint64 }

func (t *tally) add(r Result) {
	for i, known := range Results {
		if r == known {
			t.counts[i].Add(1)
		}
	}
}

// Stats reads the counters.
func (u *Upstream) Stats() Stats {
	s := Stats{Calls: make(map[Result]uint64, len(Results)), Position: u.changes.highest.Load()}
	for i, r := range Results {
		s.Calls[r] = u.calls.counts[i].Load()
	}
	current := int(u.pool.current.Load())
	for i, a := range u.pool.addresses {
		s.Breakers = append(s.Breakers, BreakerStats{
			Address: a.name,
			State:   stateName(a.breaker.State()),
			Current: i == current,
		})
	}
	return s
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
