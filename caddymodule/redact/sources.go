package redact

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
)

// Source is a place that a gate takes credentials from.
type Source = httpcred.Place

// Names are the names of headers, of parameters of the query and of cookies that hold credentials.
type Names = httpcred.Names

// Know has entries that are encoded after it redacted for the sources of a gate.
func Know(sources []Source) {
	for _, s := range sources {
		known.add(s.Names())
	}
}

// New makes a redactor for some names.
func New(names Names) *Redactor {
	var s sourceSet
	s.add(names)
	return s.redactor()
}

// known are the sources of all gates that this process has configured. Logs are set up before gates are, and outlive
// them for a while: the last requests of a configuration are logged after its gates were cleaned up. So it is one set
// for the process, and it only grows; what it holds is bounded by the configurations that an operator writes.
var known sourceSet

// noSources is what is known before there is a gate.
var noSources = new(Redactor)

// sourceSet is a set of sources that many log entries read while a gate may add to it.
type sourceSet struct {
	adding  sync.Mutex
	current atomic.Pointer[Redactor]
}

// add adds the names of sources. Entries that are encoded after it are redacted accordingly.
func (s *sourceSet) add(names Names) {
	s.adding.Lock()
	defer s.adding.Unlock()
	old := s.redactor()
	r := &Redactor{slices.Clip(old.headers), slices.Clip(old.queries), slices.Clip(old.cookies)}
	for _, name := range names.Headers {
		addName(&r.headers, name)
	}
	for _, name := range names.Queries {
		addName(&r.queries, decoded(name))
		addName(&r.cookies, decoded(name))
	}
	for _, name := range names.Cookies {
		addName(&r.cookies, name)
	}
	s.current.Store(r)
}

func addName(names *[]string, name string) {
	if !slices.Contains(*names, name) {
		*names = append(*names, name)
	}
}

// redactor redacts the sources that are known now.
func (s *sourceSet) redactor() *Redactor {
	if r := s.current.Load(); r != nil {
		return r
	}
	return noSources
}
