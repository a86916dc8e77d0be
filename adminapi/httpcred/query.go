package httpcred

import (
	"net/http"
	"net/url"
	"strings"
)

// queryPlace is a parameter of the URL's query.
type queryPlace struct{ name string }

func (s queryPlace) find(r *http.Request) found {
	var f found
	for query := r.URL.RawQuery; query != ""; {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if !s.is(key) {
			continue
		}
		text, err := url.QueryUnescape(value)
		f.malformed = f.malformed || err != nil
		f.add(text)
	}
	return f
}

// is says whether a parameter's name, as the query has it, is that of the source.
func (s queryPlace) is(key string) bool {
	if !strings.ContainsAny(key, "%+") {
		return key == s.name
	}
	plain, err := url.QueryUnescape(key)
	return err == nil && plain == s.name
}

// strip removes the parameter from the URL and from the line of the request as it came.
func (s queryPlace) strip(r *http.Request) {
	r.URL.RawQuery = s.without(r.URL.RawQuery)
	r.RequestURI = s.uriWithout(r.RequestURI)
}

func (s queryPlace) uriWithout(uri string) string {
	path, query, found := strings.Cut(uri, "?")
	if !found {
		return uri
	}
	if query = s.without(query); query == "" {
		return path
	}
	return path + "?" + query
}

// without is a query without the parameter; what stays is as it was.
func (s queryPlace) without(query string) string {
	kept := make([]string, 0, strings.Count(query, "&"))
	for pair := range strings.SplitSeq(query, "&") {
		if key, _, _ := strings.Cut(pair, "="); !s.is(key) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

func (queryPlace) vary() string { return "" }

// String is the text of the source.
func (s queryPlace) String() string { return "query " + s.name }

// Names is what a log must not show.
func (s queryPlace) Names() Names { return Names{Queries: []string{s.name}} }

// Put adds a credential to the URI of a request.
func (s queryPlace) Put(r *http.Request, credential string) {
	separator := "?"
	if strings.Contains(r.RequestURI, "?") {
		separator = "&"
	}
	r.RequestURI += separator + url.QueryEscape(s.name) + "=" + credential
}
