package verify

import "sync/atomic"

// Stats is a reading of a verifier's counters.
type Stats struct {
	Requests [numStatus]uint64 // answers by [Status]
	Failed   uint64            // requests without an answer
	Entries  int64             // verdicts that are cached
	Bytes    int64             // their memory, with what it takes to find them
	Waiting  int               // look-ups that wait for a call of the source
	Calls    int               // calls of the source that are out
}

// counters count answers.
type counters struct {
	answers [numStatus]atomic.Uint64
	failed  atomic.Uint64
}

// Stats reads the counters. It takes no lock that a hit waits for.
func (v *Verifier) Stats() Stats {
	s := Stats{Failed: v.counters.failed.Load()}
	for status := range s.Requests {
		s.Requests[status] = v.counters.answers[status].Load()
	}
	if v.cache != nil {
		s.Entries, s.Bytes = v.cache.good.size()
		entries, bytes := v.cache.bad.size()
		s.Entries, s.Bytes = s.Entries+entries, s.Bytes+bytes
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	s.Waiting, s.Calls = v.queue.waiting, v.queue.inFlight
	return s
}
