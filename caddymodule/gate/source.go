package gate

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/talos-edge/talos-edge/caddymodule/redact"
)

// Source is a place in a request where a credential may stand. Exactly one of Header, Query and Cookie is set. In the
// Caddyfile it is one of:
//
//	header <name> [<scheme>]
//	query  <name>
//	cookie <name>
type Source struct {
	// Header is the name of a header. Without a Scheme its whole value is the credential.
	Header string `json:"header,omitempty"`

	// Scheme is the authentication scheme (RFC 9110, section 11.1) that stands before the credential in the header,
	// in any case. A header with another scheme is no credential and is left alone.
	Scheme string `json:"scheme,omitempty"`

	// Query is the name of a parameter of the URL's query. URLs end up in logs and histories; prefer a header.
	Query string `json:"query,omitempty"`

	// Cookie is the name of a cookie.
	Cookie string `json:"cookie,omitempty"`
}

// source is a place in a request, as a Source configures it. Its methods may be called concurrently.
type source interface {
	redact.Source

	// extract finds what a request has there. It does not change the request.
	extract(r *http.Request) found

	// strip removes it from the request, so that nothing behind the gate sees it.
	strip(r *http.Request)

	// vary is the header that it is in, or empty if it is in the URL.
	vary() string
}

// maxSources bounds the sources of one gate: they are counted in the bits of a word.
const maxSources = 16

// parseSource reads the arguments of the Caddyfile option `from`.
func parseSource(args []string) (Source, error) {
	switch {
	case len(args) == 2 && args[0] == "header":
		return Source{Header: args[1]}, nil
	case len(args) == 3 && args[0] == "header":
		return Source{Header: args[1], Scheme: args[2]}, nil
	case len(args) == 2 && args[0] == "query":
		return Source{Query: args[1]}, nil
	case len(args) == 2 && args[0] == "cookie":
		return Source{Cookie: args[1]}, nil
	default:
		return Source{}, errors.New("must be `header <name> [<scheme>]`, `query <name>` or `cookie <name>`")
	}
}

// texts are the values that may hold placeholders.
func (s *Source) texts() []*string {
	return []*string{&s.Header, &s.Scheme, &s.Query, &s.Cookie}
}

// resolve checks a source whose placeholders are expanded, and prepares it for requests.
func (s *Source) resolve() (source, error) {
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
		return newHeaderSource(s.Header, s.Scheme)
	case s.Query != "":
		return querySource{s.Query}, nil
	default:
		return newCookieSource(s.Cookie)
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

// resolveSources prepares the sources of a gate, and notes what they mean for caches.
func (g *Gate) resolveSources() error {
	if len(g.From) == 0 {
		g.From = []Source{{Header: "Authorization", Scheme: "Bearer"}}
	}
	if len(g.From) > maxSources {
		return fmt.Errorf("there are %d places; the most is %d", len(g.From), maxSources)
	}
	var vary []string
	for i := range g.From {
		s, err := g.From[i].resolve()
		if err != nil {
			return err
		}
		for j := range i {
			if g.From[i].conflicts(&g.From[j]) {
				return fmt.Errorf("%s is read twice", s)
			}
		}
		g.sources = append(g.sources, s)
		header := s.vary()
		if header != "" && !slices.Contains(vary, header) {
			vary = append(vary, header)
		}
		// Shared caches know what Authorization means (RFC 9111, section 3.5), and nothing else.
		if header != "Authorization" {
			g.unshared |= 1 << i
		}
	}
	g.vary = strings.Join(vary, ", ")
	return nil
}
