package gate

import (
	"math/bits"
	"net/http"

	"github.com/talos-edge/talos-edge/core/credential"
)

// found is what a request has in one source.
type found struct {
	credential string // the last one, not yet checked
	count      int    // how many credentials there are, those with an empty text too
	malformed  bool   // what is there is a list, or cannot be decoded
}

// add notes one more credential.
func (f *found) add(text string) {
	f.count++
	f.credential = text
}

// presented is what a request shows in all sources of a gate. Only a request with count 1 has a credential.
type presented struct {
	found
	where uint16 // the sources that have one, by their index
}

// extract finds the credential of a request. It is the one place where a request becomes a credential.
//
// Every source is looked at to its end, so that a second credential is always seen. An empty one (`Bearer` alone, an
// empty header, `?key=`) counts: whoever sends it means to be known, so it is a bad credential and never "none".
func extract(sources []source, r *http.Request) presented {
	var p presented
	for i, s := range sources {
		f := s.extract(r)
		if f.count == 0 {
			continue
		}
		p.where |= 1 << i
		p.count += f.count
		p.credential = f.credential
		p.malformed = p.malformed || f.malformed
	}
	if p.count != 1 {
		p.credential = ""
	}
	return p
}

// stripCredential removes what was extracted from a request, so that nothing behind the gate sees it.
func stripCredential(sources []source, where uint16, r *http.Request) {
	for ; where != 0; where &= where - 1 {
		sources[bits.TrailingZeros16(where)].strip(r)
	}
}

// reason is why a request's credential is not even looked up, or reasonOK if it is.
func (p *presented) reason() reason {
	switch {
	case p.count == 0:
		return reasonNoCredential
	case p.count > 1 || p.malformed:
		return reasonAmbiguous
	case credential.Check(p.credential) != nil:
		return reasonMalformed
	default:
		return reasonOK
	}
}
