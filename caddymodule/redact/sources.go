package redact

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Source is a place that a gate takes credentials from: a header, a parameter of the query or a cookie. Names are in
// the form in which they are compared.
type Source struct{ Header, Scheme, Query, Cookie string }

// String is the source as in the gate's option `from`.
func (s Source) String() string {
	switch {
	case s.Header != "":
		return strings.TrimSpace("header " + s.Header + " " + s.Scheme)
	case s.Query != "":
		return "query " + s.Query
	default:
		return "cookie " + s.Cookie
	}
}

// Know has entries that are encoded after it redacted for the sources of a gate.
func Know(sources []Source) { known.add(sources) }

// New makes a redactor for some sources.
func New(sources []Source) *Redactor {
	var s sourceSet
	s.add(sources)
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

// add adds sources, which are normalized. Entries that are encoded after it are redacted accordingly.
func (s *sourceSet) add(sources []Source) {
	s.adding.Lock()
	defer s.adding.Unlock()
	old := s.redactor()
	r := &Redactor{slices.Clip(old.headers), slices.Clip(old.queries), slices.Clip(old.cookies)}
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
func (s *sourceSet) redactor() *Redactor {
	if r := s.current.Load(); r != nil {
		return r
	}
	return noSources
}
