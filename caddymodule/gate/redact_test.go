package gate

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/redact"
)

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
		r := redact.New([]redact.Source{{Query: name}})
		for _, before := range []string{"", "/?", "https://localhost/?"} {
			text := r.Text("uri", before+query)
			var left presented
			for pair := range strings.SplitSeq(text[len(before):], "&") {
				if left.fromQuery(name, pair); left.credential != "" && left.credential != "REDACTED" {
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

// FuzzRedactCookie does the same for cookies.
func FuzzRedactCookie(f *testing.F) {
	for _, s := range []string{"", "key=a", "a=b; key=c", `key="a"`, "key", "key =a", " key=a", "key=a;key=b", "=;", "\tkey=a", "k%65y=a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r := redact.New([]redact.Source{{Cookie: "key"}})
		var left presented
		for pair := range strings.SplitSeq(r.Text("Cookie", line), ";") {
			if left.fromCookies("key", []string{pair}); left.credential != "" && left.credential != "REDACTED" {
				t.Fatalf("%q shows %q", line, left.credential)
			}
		}
		header := http.Header{"Cookie": {r.Text("Cookie", line)}}
		for _, c := range (&http.Request{Header: header}).CookiesNamed("key") {
			if c.Value != "" && c.Value != "REDACTED" {
				t.Fatalf("%q shows %q", line, c.Value)
			}
		}
	})
}
