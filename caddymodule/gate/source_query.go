package gate

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/redact"
)

// querySource is a parameter of the URL's query.
type querySource struct{ name string }

func (s querySource) extract(r *http.Request) found {
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

// is says whether a parameter's name, as it stands in the query, is that of the source.
func (s querySource) is(key string) bool {
	if !strings.ContainsAny(key, "%+") {
		return key == s.name
	}
	plain, err := url.QueryUnescape(key)
	return err == nil && plain == s.name
}

// strip removes the parameter from the URL and from the two places where the server keeps the URL as it came: FastCGI
// takes it from there, and handle_errors gets it back from there.
func (s querySource) strip(r *http.Request) {
	r.URL.RawQuery = s.without(r.URL.RawQuery)
	r.RequestURI = s.uriWithout(r.RequestURI)
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL == nil {
		return
	}
	original.URL.RawQuery = s.without(original.URL.RawQuery) // the URL is shared with the server
	original.RequestURI = s.uriWithout(original.RequestURI)
	*r = *r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original))
}

func (s querySource) uriWithout(uri string) string {
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
func (s querySource) without(query string) string {
	kept := make([]string, 0, strings.Count(query, "&"))
	for pair := range strings.SplitSeq(query, "&") {
		if key, _, _ := strings.Cut(pair, "="); !s.is(key) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

func (querySource) vary() string { return "" }

// String is the source as in the Caddyfile.
func (s querySource) String() string { return "query " + s.name }

// Names is what logs are redacted by.
func (s querySource) Names() redact.Names { return redact.Names{Queries: []string{s.name}} }

// Put adds a credential to the URI of a request.
func (s querySource) Put(r *http.Request, credential string) {
	separator := "?"
	if strings.Contains(r.RequestURI, "?") {
		separator = "&"
	}
	r.RequestURI += separator + url.QueryEscape(s.name) + "=" + credential
}
