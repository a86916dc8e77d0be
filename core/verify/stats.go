package verify

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Stats is a reading of a verifier's counters.
type Stats struct {
	Requests [numStatus]uint64 // answers by [Status]
	Failed   uint64            // requests without an answer
	Entries  int64             // verdicts that are kept
	Bytes    int64             // their memory, with what it takes to find them
	Waiting  int               // look-ups that wait for a call of the source
	Calls    int               // calls of the source that are out
}

// cell is one share of the counters, on a cache line of its own.
type cell struct {
	answers [numStatus]atomic.Uint64
	failed  atomic.Uint64
	reading atomic.Int64 // reads of the caches that have not returned
	_       [128 - 8*(numStatus+2)]byte
}

// cells are counters that processors do not fight over.
type cells []cell

func newCells() cells {
	n := 8
	for n < 4*runtime.GOMAXPROCS(0) && n < 256 {
		n *= 2
	}
	return make(cells, n)
}

// mine returns the share of the calling goroutine. Goroutines have stacks of their own, at addresses that stay the same
// for long, so that one which serves many requests meets the same share each time.
func (c cells) mine() *cell {
	var here byte
	address := uint64(uintptr(unsafe.Pointer(&here))) //nolint:gosec // a number to spread by, never followed
	spread := (address >> 11) * 0x9e3779b97f4a7c15
	return &c[int(spread>>48)&(len(c)-1)]
}

// read adds the shares up.
func (c cells) read() Stats {
	var s Stats
	for i := range c {
		for status := range s.Requests {
			s.Requests[status] += c[i].answers[status].Load()
		}
		s.Failed += c[i].failed.Load()
	}
	return s
}

// waitForReaders returns when no read of the caches is under way. The reads take well under a microsecond.
func (c cells) waitForReaders() {
	for i := range c {
		for c[i].reading.Load() != 0 {
			runtime.Gosched()
		}
	}
}

// Stats reads the counters. It takes no lock that a hit waits for.
func (v *Verifier) Stats() Stats {
	s := v.cells.read()
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
