package gate

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/talos-edge/talos-edge/caddymodule/redact"
	"github.com/talos-edge/talos-edge/core/credential"
)

// Source is a place in a request where a credential may stand. Exactly one of Header, Query and Cookie is set.
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

// maxSources bounds the sources of one gate: they are counted in the bits of a word.
const maxSources = 16

// notASource are headers that are no place for a credential: they frame or route the message, or have a kind of source
// of their own.
var notASource = map[string]bool{
	"Host": true, "Connection": true, "Content-Length": true, "Content-Type": true, "Cookie": true, "Expect": true,
	"Keep-Alive": true, "Proxy-Connection": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true,
}

// String names a source as the Caddyfile does.
func (s *Source) String() string {
	return redact.Source(*s).String()
}

// normalize checks a source and puts its names into the form in which they are compared.
func (s *Source) normalize() error {
	set := 0
	for _, name := range []string{s.Header, s.Query, s.Cookie} {
		if name != "" {
			set++
		}
	}
	switch {
	case set != 1:
		return errors.New("a place is one of header, query and cookie")
	case s.Scheme != "" && s.Header == "":
		return errors.New("only a header has a scheme")
	case s.Header != "" && !httpguts.ValidHeaderFieldName(s.Header):
		return fmt.Errorf("%q is not the name of a header", s.Header)
	case s.Scheme != "" && !httpguts.ValidHeaderFieldName(s.Scheme): // a scheme is a token, as a header's name is
		return fmt.Errorf("%q is not an authentication scheme", s.Scheme)
	case s.Cookie != "" && !httpguts.ValidHeaderFieldName(s.Cookie):
		return fmt.Errorf("%q is not the name of a cookie", s.Cookie)
	}
	s.Header = textproto.CanonicalMIMEHeaderKey(s.Header)
	if notASource[s.Header] {
		return fmt.Errorf("header %s cannot hold a credential", s.Header)
	}
	return nil
}

// conflicts says whether two sources, both normalized, would read the same text.
func (s *Source) conflicts(o *Source) bool {
	if s.Header == "" {
		return *s == *o
	}
	return s.Header == o.Header && (s.Scheme == "" || o.Scheme == "" || strings.EqualFold(s.Scheme, o.Scheme))
}

// presented is what a request shows in the places where a gate looks. Only a request with count 1 has a credential.
type presented struct {
	credential string // empty unless count is 1; not yet checked
	count      int    // how many credentials there are, those with an empty text too
	where      uint16 // the sources that have one, by their index
	malformed  bool   // what is there is a list, or cannot be decoded
}

// extract finds the credential of a request. It is the one place where a request becomes a credential.
//
// Every source is looked at to its end, so that a second credential is always seen. An empty one (`Bearer` alone, an
// empty header, `?key=`) counts: whoever sends it means to be known, so it is a bad credential and never "none".
func extract(sources []Source, r *http.Request) presented {
	var p presented
	for i := range sources {
		s := &sources[i]
		before := p.count
		switch {
		case s.Header != "":
			p.fromHeader(s, r.Header[s.Header])
		case s.Query != "":
			p.fromQuery(s.Query, r.URL.RawQuery)
		default:
			p.fromCookies(s.Cookie, r.Header["Cookie"])
		}
		if p.count > before {
			p.where |= 1 << i
		}
	}
	if p.count != 1 {
		p.credential = ""
	}
	return p
}

// add notes one more credential.
func (p *presented) add(text string) {
	p.count++
	p.credential = text
}

// fromHeader reads the lines of one header. A line with another scheme is none of ours, but beside one that is ours it
// makes the header ambiguous: which line a server behind us would take is anyone's guess.
func (p *presented) fromHeader(s *Source, lines []string) {
	if s.Scheme == "" {
		for _, line := range lines {
			p.add(line)
		}
		return
	}
	ours := false
	for _, line := range lines {
		text, ok := cutScheme(line, s.Scheme)
		if !ok {
			continue
		}
		ours = true
		p.add(text)
		p.malformed = p.malformed || isList(text)
	}
	if ours && len(lines) > 1 {
		p.count = max(p.count, 2)
	}
}

// isList says whether what follows a scheme is more than one word: two credentials that a proxy joined, perhaps. A
// credential with a scheme holds neither comma nor white space (RFC 6750, section 2.1).
func isList(text string) bool {
	return strings.IndexByte(text, ',') >= 0 || strings.IndexByte(text, ' ') >= 0 || strings.IndexByte(text, '\t') >= 0
}

// cutScheme returns what follows a scheme, without the white space between.
func cutScheme(line, scheme string) (rest string, ok bool) {
	n := len(scheme)
	if len(line) < n || (line[:n] != scheme && !strings.EqualFold(line[:n], scheme)) {
		return "", false
	}
	if len(line) == n {
		return "", true
	}
	if c := line[n]; c != ' ' && c != '\t' {
		return "", false
	}
	return strings.Trim(line[n:], " \t"), true
}

// fromQuery reads the parameters of one name.
func (p *presented) fromQuery(name, query string) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if !isParameter(key, name) {
			continue
		}
		text, err := url.QueryUnescape(value)
		p.malformed = p.malformed || err != nil
		p.add(text)
	}
}

// isParameter compares the name of a parameter, as it stands in the query, with one that is asked for.
func isParameter(key, name string) bool {
	if !strings.ContainsAny(key, "%+") {
		return key == name
	}
	plain, err := url.QueryUnescape(key)
	return err == nil && plain == name
}

// fromCookies reads the cookies of one name.
func (p *presented) fromCookies(name string, lines []string) {
	for _, line := range lines {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			if value, ok := cutCookie(pair, name); ok {
				p.add(value)
			}
		}
	}
}

// cutCookie returns the value of a pair if it is the cookie of that name. Quotes around the value are no part of it.
func cutCookie(pair, name string) (value string, ok bool) {
	key, value, _ := strings.Cut(textproto.TrimString(pair), "=")
	if textproto.TrimString(key) != name {
		return "", false
	}
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
	}
	return value, true
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
