package httpcred_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
)

// FuzzExtractQuery compares what is read of a query with what the standard library reads: no parameter that an app
// would take for the credential is overlooked or left behind.
func FuzzExtractQuery(f *testing.F) {
	for _, s := range []string{
		"", "api_key=a", "api%5Fkey=a&b", "api_key=%zz", "a;api_key=b", "api_key=a&api_key=b", "&&=", "api_key+=x", "%",
	} {
		f.Add(s)
	}
	reader, err := httpcred.NewReader(httpcred.Source{Query: "api_key"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := &http.Request{URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{}}
		p := reader.Find(r)
		got, err := p.Credential()
		values, _ := url.ParseQuery(query)
		want := values["api_key"]
		if len(want) > 1 && err == nil || len(want) == 1 && errors.Is(err, httpcred.ErrNoCredential) {
			t.Fatalf("%q has %d, found %v", query, len(want), err)
		}
		if err == nil && len(want) == 1 && got != want[0] {
			t.Fatalf("%q: credential %q, want %q", query, got, want[0])
		}
		reader.Strip(r, p.Where)
		if left, _ := url.ParseQuery(r.URL.RawQuery); left.Has("api_key") {
			t.Fatalf("%q: %q is left", query, r.URL.RawQuery)
		}
		if again := reader.Find(r); again.Where != 0 {
			t.Fatalf("%q: %q still has a credential", query, r.URL.RawQuery)
		}
	})
}

// FuzzExtractCookie compares what is read of cookies with what the standard library reads.
func FuzzExtractCookie(f *testing.F) {
	for _, s := range []string{
		"", "key=a", "a=b; key=c", `key="a"`, "key", "key =a", " key=a", "key=a;key=b", "=;", "\tkey=a",
	} {
		f.Add(s)
	}
	reader, err := httpcred.NewReader(httpcred.Source{Cookie: "key"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r := &http.Request{URL: &url.URL{Path: "/"}, Header: http.Header{"Cookie": {line}}}
		p := reader.Find(r)
		got, err := p.Credential()
		want := r.CookiesNamed("key")
		if len(want) > 1 && err == nil || len(want) == 1 && errors.Is(err, httpcred.ErrNoCredential) {
			t.Fatalf("%q has %d, found %v", line, len(want), err)
		}
		if err == nil && len(want) == 1 && got != want[0].Value {
			t.Fatalf("%q: credential %q, want %q", line, got, want[0].Value)
		}
		reader.Strip(r, p.Where)
		if left := r.CookiesNamed("key"); len(left) != 0 {
			t.Fatalf("%q: %q is left", line, r.Header["Cookie"])
		}
	})
}
