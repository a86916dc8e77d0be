package gate

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/redact"
)

// FuzzExtractQuery compares the gate's reading of a query with the standard library's: no parameter that an app would
// take for the credential is overlooked or left behind.
func FuzzExtractQuery(f *testing.F) {
	for _, s := range []string{
		"", "api_key=a", "api%5Fkey=a&b", "api_key=%zz", "a;api_key=b", "api_key=a&api_key=b", "&&=", "api_key+=x", "%",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := &http.Request{URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{}}
		sources := []source{querySource{"api_key"}}
		p := extract(sources, r)
		values, _ := url.ParseQuery(query)
		want := values["api_key"]
		if len(want) > p.count {
			t.Fatalf("%q has %d, found %d", query, len(want), p.count)
		}
		if p.reason() == reasonOK && len(want) == 1 && p.credential != want[0] {
			t.Fatalf("%q: credential %q, want %q", query, p.credential, want[0])
		}
		stripCredential(sources, p.where, r)
		if left, _ := url.ParseQuery(r.URL.RawQuery); left.Has("api_key") {
			t.Fatalf("%q: %q is left", query, r.URL.RawQuery)
		}
		if again := extract(sources, r); again.count != 0 {
			t.Fatalf("%q: %q still has a credential", query, r.URL.RawQuery)
		}
	})
}

// FuzzRedactQuery holds the log against the gate: what the gate would take a credential from does not show it.
func FuzzRedactQuery(f *testing.F) {
	for _, s := range []string{
		"", "api_key=a", "API%5fkey=a&b", "api_key=%zz", "a;api_key=b", "api_key=a&api_key=b", "&&=", "api_key+=x", "%",
		"to=%2F%3Fapi_key%3Da%26b&api_key=c", "api_key%3Da&api_key=b", "api_key= a&b", "%25api_key=a",
	} {
		f.Add("api_key", s)
	}
	f.Add("user[key]", "user%5Bkey%5D=a")
	f.Add("a=b", "a%3db=c")
	f.Add(" ", "+=a")
	f.Fuzz(func(t *testing.T, name, query string) {
		if name == "" || strings.Contains(name, "%") { // such a name is known in its usual spelling
			return
		}
		source := querySource{name}
		r := redact.New(source.Names())
		for _, before := range []string{"", "/?", "https://localhost/?"} {
			text := r.Text("uri", before+query)
			for pair := range strings.SplitSeq(text[len(before):], "&") {
				left := source.extract(&http.Request{URL: &url.URL{RawQuery: pair}})
				if left.credential != "" && left.credential != "REDACTED" {
					t.Fatalf("%q shows %q in %q", before+query, left.credential, text)
				}
			}
			if again := r.Text("uri", text); again != text {
				t.Fatalf("%q is redacted to %q, and that to %q", query, text, again)
			}
		}
		if values, err := url.ParseQuery(query); err == nil && len(values) == strings.Count(query, "&")+1 {
			left, err := url.ParseQuery(r.Text("uri", query))
			if err != nil || len(left) != len(values) {
				t.Fatalf("%q has %d parameters, redacted %d (%v)", query, len(values), len(left), err)
			}
		}
	})
}
