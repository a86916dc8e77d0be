package httpcred

import (
	"errors"
	"fmt"
	"math/bits"
	"net/http"
	"slices"
	"strings"

	"github.com/talos-edge/talos-edge/core/credential"
)

// What is wrong with the credential of a request. Errors of [Found.Credential] are one of these.
var (
	ErrNoCredential = errors.New("the request has no credential")
	ErrAmbiguous    = errors.New("the request must have exactly one credential")
	ErrMalformed    = errors.New("the request has text that cannot be a credential")
)

// MaxSources bounds the sources of a [Reader].
const MaxSources = 16

// Where is a set of the places of a [Reader]: those in which a request has something.
type Where uint16

// Reader finds credentials in requests. It is safe for concurrent use.
type Reader struct {
	places   []Place
	vary     string
	inURL    Where
	unshared Where // the places that a shared cache does not understand
}

// NewReader makes a reader of sources, at most [MaxSources]. Without any it reads the header Authorization with the
// scheme Bearer.
func NewReader(sources ...Source) (*Reader, error) {
	if len(sources) == 0 {
		sources = []Source{{Header: "Authorization", Scheme: "Bearer"}}
	}
	if len(sources) > MaxSources {
		return nil, fmt.Errorf("there are %d places; the most is %d", len(sources), MaxSources)
	}
	rd := &Reader{places: make([]Place, len(sources))}
	var vary []string
	for i := range sources {
		p, err := sources[i].place()
		if err != nil {
			return nil, err
		}
		for j := range i {
			if sources[i].conflicts(&sources[j]) {
				return nil, fmt.Errorf("%s is read twice", p)
			}
		}
		rd.places[i] = p
		header := p.vary()
		switch {
		case header == "":
			rd.inURL |= 1 << i
		case !slices.Contains(vary, header):
			vary = append(vary, header)
		}
		// Shared caches know what Authorization means (RFC 9111, section 3.5), and nothing else.
		if header != "Authorization" {
			rd.unshared |= 1 << i
		}
	}
	rd.vary = strings.Join(vary, ", ")
	return rd, nil
}

// Places are the reader's sources, in the order in which they were given.
func (rd *Reader) Places() []Place { return rd.places }

// Headers are the headers that hold credentials, in canonical form, for [NewFilter].
func (rd *Reader) Headers() []string {
	var headers []string
	for _, p := range rd.places {
		headers = append(headers, p.Names().Headers...)
	}
	return headers
}

// Vary is the value of the Vary header that tells caches what the answer depends on; empty if that is the URL only.
func (rd *Reader) Vary() string { return rd.vary }

// InURL are those of the places that are in the URL.
func (rd *Reader) InURL(w Where) Where { return rd.inURL & w }

// Unshared says whether one of the places is not known to shared caches as one of a credential: unless the answer says
// otherwise, they would store it.
func (rd *Reader) Unshared(w Where) bool { return rd.unshared&w != 0 }

// found is what a request has in one place.
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

// Found is what a request has in all places of a [Reader].
type Found struct {
	found

	Where Where // the places that have something, for [Reader.Strip]
}

// String and GoString do not show the credential.
func (f Found) String() string { return fmt.Sprintf("%d credentials", f.count) }

// GoString is String.
func (f Found) GoString() string { return f.String() }

// Find reads the places of a request, and does not change it.
//
// Every place is read to its end, so that a second credential is always seen. An empty one (`Bearer` alone, an empty
// header, `?key=`) counts: whoever sends it means to be known, so it is a bad credential and never "none".
func (rd *Reader) Find(r *http.Request) Found {
	var all Found
	for i, p := range rd.places {
		f := p.find(r)
		if f.count == 0 {
			continue
		}
		all.Where |= 1 << i
		all.count += f.count
		all.credential = f.credential
		all.malformed = all.malformed || f.malformed
	}
	return all
}

// Credential returns the one credential, which can be one as far as its form goes ([credential.Check]), or what is
// wrong: [ErrNoCredential], [ErrAmbiguous] or [ErrMalformed].
func (f Found) Credential() (string, error) {
	switch {
	case f.count == 0:
		return "", ErrNoCredential
	case f.count > 1 || f.malformed:
		return "", ErrAmbiguous
	case credential.Check(f.credential) != nil:
		return "", ErrMalformed
	default:
		return f.credential, nil
	}
}

// Strip removes from a request what [Reader.Find] has found, so that nothing behind the gate sees it. Values of headers
// are not written to: they may be shared.
func (rd *Reader) Strip(r *http.Request, w Where) {
	for ; w != 0; w &= w - 1 {
		rd.places[bits.TrailingZeros16(uint16(w))].strip(r)
	}
}
