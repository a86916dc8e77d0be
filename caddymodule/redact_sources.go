package caddymodule

import (
	"slices"
	"sync"
	"sync/atomic"
)

// known are the sources of all gates that this process has configured. Logs are set up before gates are, and outlive
// them for a while: the last requests of a configuration are logged after its gates were cleaned up. So it is one set
// for the process, and it only grows; what it holds is bounded by the configurations that an operator writes.
var known sourceSet

// noSources is what is known before there is a gate.
var noSources = new(redactor)

// sourceSet is a set of sources that many log entries read while a gate may add to it.
type sourceSet struct {
	adding  sync.Mutex
	current atomic.Pointer[redactor]
}

// add adds sources, which are normalized. Entries that are encoded after it are redacted accordingly.
func (s *sourceSet) add(sources []Source) {
	s.adding.Lock()
	defer s.adding.Unlock()
	old := s.redactor()
	r := &redactor{slices.Clip(old.headers), slices.Clip(old.queries), slices.Clip(old.cookies)}
	for i := range sources {
		addName(&r.headers, sources[i].Header)
		addName(&r.queries, decoded(sources[i].Query))
		addName(&r.cookies, sources[i].Cookie)
		addName(&r.cookies, decoded(sources[i].Query))
	}
	s.current.Store(r)
}

func addName(names *[]string, name string) {
	if name != "" && !slices.Contains(*names, name) {
		*names = append(*names, name)
	}
}

// redactor redacts the sources that are known now.
func (s *sourceSet) redactor() *redactor {
	if r := s.current.Load(); r != nil {
		return r
	}
	return noSources
}
