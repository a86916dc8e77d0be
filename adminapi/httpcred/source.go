package httpcred

import (
	"errors"
	"net/http"
	"strings"
)

// Source is a place in a request where a credential may be. Exactly one of Header, Query and Cookie is set. As text it
// is one of:
//
//	header <name> [<scheme>]
//	query  <name>
//	cookie <name>
type Source struct {
	// Header is the name of a header. Without a Scheme its whole value is the credential.
	Header string `json:"header,omitempty"`

	// Scheme is the authentication scheme (RFC 9110, section 11.1) before the credential in the header, in any case. A
	// header with another scheme is no credential and is left alone.
	Scheme string `json:"scheme,omitempty"`

	// Query is the name of a parameter of the URL's query. URLs end up in logs and histories; prefer a header.
	Query string `json:"query,omitempty"`

	// Cookie is the name of a cookie.
	Cookie string `json:"cookie,omitempty"`
}

// Place is a [Source] as a [Reader] has prepared it. Its methods may be called concurrently.
type Place interface {
	// String is the text of the source.
	String() string

	// Names are what a log must not show the values of.
	Names() Names

	// Put adds a credential to a request's header or RequestURI.
	Put(r *http.Request, credential string)

	// find reads what a request has there. It does not change the request.
	find(r *http.Request) found

	// strip removes it from the request, so that nothing behind the gate sees it.
	strip(r *http.Request)

	// vary is the header that it is in, or empty if it is in the URL.
	vary() string
}

// Names are the names of headers, of parameters of the query and of cookies that hold credentials. Those of headers are
// canonical.
type Names struct{ Headers, Queries, Cookies []string }

// ParseSource reads the words of a source's text.
func ParseSource(words ...string) (Source, error) {
	switch {
	case len(words) == 2 && words[0] == "header":
		return Source{Header: words[1]}, nil
	case len(words) == 3 && words[0] == "header":
		return Source{Header: words[1], Scheme: words[2]}, nil
	case len(words) == 2 && words[0] == "query":
		return Source{Query: words[1]}, nil
	case len(words) == 2 && words[0] == "cookie":
		return Source{Cookie: words[1]}, nil
	default:
		return Source{}, errors.New("must be `header <name> [<scheme>]`, `query <name>` or `cookie <name>`")
	}
}

// Texts are the source's values, for whoever expands placeholders in them.
func (s *Source) Texts() []*string {
	return []*string{&s.Header, &s.Scheme, &s.Query, &s.Cookie}
}

// place checks a source and prepares it for requests.
func (s *Source) place() (Place, error) {
	set := 0
	for _, name := range []string{s.Header, s.Query, s.Cookie} {
		if name != "" {
			set++
		}
	}
	switch {
	case set != 1:
		return nil, errors.New("a place is one of header, query and cookie")
	case s.Scheme != "" && s.Header == "":
		return nil, errors.New("only a header has a scheme")
	case s.Header != "":
		return newHeaderPlace(s.Header, s.Scheme)
	case s.Query != "":
		return queryPlace{s.Query}, nil
	default:
		return newCookiePlace(s.Cookie)
	}
}

// conflicts says whether two sources would read the same text.
func (s *Source) conflicts(o *Source) bool {
	if s.Header == "" {
		return *s == *o
	}
	return strings.EqualFold(s.Header, o.Header) &&
		(s.Scheme == "" || o.Scheme == "" || strings.EqualFold(s.Scheme, o.Scheme))
}
