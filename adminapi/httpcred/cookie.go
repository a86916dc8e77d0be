package httpcred

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// cookiePlace is a cookie.
type cookiePlace struct{ name string }

func newCookiePlace(name string) (Place, error) {
	if !httpguts.ValidHeaderFieldName(name) { // it is a token, as a header's name is
		return nil, fmt.Errorf("%q is not the name of a cookie", name)
	}
	return cookiePlace{name}, nil
}

func (s cookiePlace) find(r *http.Request) found {
	var f found
	for _, line := range r.Header["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			if value, ok := s.cut(pair); ok {
				f.add(value)
			}
		}
	}
	return f
}

// cut returns the value of a pair if it is the cookie. Quotes around the value are no part of it.
func (s cookiePlace) cut(pair string) (value string, ok bool) {
	key, value, _ := strings.Cut(textproto.TrimString(pair), "=")
	if textproto.TrimString(key) != s.name {
		return "", false
	}
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
	}
	return value, true
}

// strip removes the cookie. The lines are written anew: they may be shared.
func (s cookiePlace) strip(r *http.Request) {
	var kept []string
	for _, line := range r.Header["Cookie"] {
		var pairs []string
		for pair := range strings.SplitSeq(line, ";") {
			if _, ok := s.cut(pair); !ok {
				pairs = append(pairs, textproto.TrimString(pair))
			}
		}
		if len(pairs) > 0 {
			kept = append(kept, strings.Join(pairs, "; "))
		}
	}
	if len(kept) == 0 {
		delete(r.Header, "Cookie")
		return
	}
	r.Header["Cookie"] = kept
}

func (cookiePlace) vary() string { return "Cookie" }

// String is the text of the source.
func (s cookiePlace) String() string { return "cookie " + s.name }

// Names is what a log must not show.
func (s cookiePlace) Names() Names { return Names{Cookies: []string{s.name}} }

// Put adds a credential to a request.
func (s cookiePlace) Put(r *http.Request, credential string) {
	r.Header.Add("Cookie", s.name+"="+credential)
}
