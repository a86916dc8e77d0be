package httpcred

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// headerPlace is a header, with or without an authentication scheme before the credential.
type headerPlace struct {
	name   string // canonical
	scheme string
}

// notASource are headers that are no place for a credential: they frame or route the message, or have a kind of source
// of their own.
var notASource = map[string]bool{
	"Host": true, "Connection": true, "Content-Length": true, "Content-Type": true, "Cookie": true, "Expect": true,
	"Keep-Alive": true, "Proxy-Connection": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true,
}

func newHeaderPlace(name, scheme string) (Place, error) {
	if !httpguts.ValidHeaderFieldName(name) {
		return nil, fmt.Errorf("%q is not the name of a header", name)
	}
	// A scheme is a token, as a header's name is.
	if scheme != "" && !httpguts.ValidHeaderFieldName(scheme) {
		return nil, fmt.Errorf("%q is not an authentication scheme", scheme)
	}
	name = textproto.CanonicalMIMEHeaderKey(name)
	if notASource[name] {
		return nil, fmt.Errorf("header %s cannot hold a credential", name)
	}
	return headerPlace{name, scheme}, nil
}

// find reads the lines of the header. A line with another scheme is none of ours, but beside one that is ours it
// makes the header ambiguous: which line a server behind us would take is anyone's guess.
func (s headerPlace) find(r *http.Request) found {
	var f found
	lines := r.Header[s.name]
	if s.scheme == "" {
		for _, line := range lines {
			f.add(line)
		}
		return f
	}
	for _, line := range lines {
		if text, ok := cutScheme(line, s.scheme); ok {
			f.add(text)
			f.malformed = f.malformed || isList(text)
		}
	}
	if f.count > 0 {
		f.count = len(lines)
	}
	return f
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

func (s headerPlace) strip(r *http.Request) { delete(r.Header, s.name) }

func (s headerPlace) vary() string { return s.name }

// String is the text of the source.
func (s headerPlace) String() string { return strings.TrimSpace("header " + s.name + " " + s.scheme) }

// Names is what a log must not show.
func (s headerPlace) Names() Names { return Names{Headers: []string{s.name}} }

// Put adds a credential to a request.
func (s headerPlace) Put(r *http.Request, credential string) {
	r.Header.Add(s.name, strings.TrimSpace(s.scheme+" "+credential))
}
