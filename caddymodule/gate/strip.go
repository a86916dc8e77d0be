package gate

import (
	"context"
	"math/bits"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// stripCredential removes what was extracted from a request, so that nothing behind the gate sees it.
func stripCredential(sources []Source, where uint16, r *http.Request) {
	for ; where != 0; where &= where - 1 {
		s := &sources[bits.TrailingZeros16(where)]
		switch {
		case s.Header != "":
			delete(r.Header, s.Header)
		case s.Query != "":
			stripQuery(s.Query, r)
		default:
			stripCookie(s.Cookie, r.Header)
		}
	}
}

// stripCookie removes the cookies of a name. The lines are written anew: they may be shared.
func stripCookie(name string, h http.Header) {
	var kept []string
	for _, line := range h["Cookie"] {
		var pairs []string
		for pair := range strings.SplitSeq(line, ";") {
			if _, ok := cutCookie(pair, name); !ok {
				pairs = append(pairs, textproto.TrimString(pair))
			}
		}
		if len(pairs) > 0 {
			kept = append(kept, strings.Join(pairs, "; "))
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

// stripQuery removes a parameter from the URL and from the two places where the server keeps the URL as it came:
// FastCGI takes it from there, and handle_errors gets it back from there.
func stripQuery(name string, r *http.Request) {
	r.URL.RawQuery = withoutParameter(r.URL.RawQuery, name)
	r.RequestURI = uriWithoutParameter(r.RequestURI, name)
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL == nil {
		return
	}
	original.URL.RawQuery = withoutParameter(original.URL.RawQuery, name) // the URL is shared with the server
	original.RequestURI = uriWithoutParameter(original.RequestURI, name)
	*r = *r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original))
}

func uriWithoutParameter(uri, name string) string {
	path, query, found := strings.Cut(uri, "?")
	if !found {
		return uri
	}
	if query = withoutParameter(query, name); query == "" {
		return path
	}
	return path + "?" + query
}

// withoutParameter is a query without the parameters of a name; what stays is as it was.
func withoutParameter(query, name string) string {
	kept := make([]string, 0, strings.Count(query, "&"))
	for pair := range strings.SplitSeq(query, "&") {
		if key, _, _ := strings.Cut(pair, "="); !isParameter(key, name) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}
