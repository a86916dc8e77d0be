package gate

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
	"github.com/talos-edge/talos-edge/caddymodule/redact"
)

// onePlace is a reader of one source.
type onePlace struct{ *httpcred.Reader }

func placeOf(t *testing.T, s httpcred.Source) onePlace {
	t.Helper()
	reader, err := httpcred.NewReader(s)
	if err != nil {
		t.Fatal(err)
	}
	return onePlace{reader}
}

func (p onePlace) Names() redact.Names { return p.Places()[0].Names() }

// credential is what the gate would take from a request.
func (p onePlace) credential(r *http.Request) string {
	found := p.Find(r)
	text, _ := found.Credential()
	return text
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
		place := placeOf(t, httpcred.Source{Query: name})
		r := redact.New(place.Names())
		for _, before := range []string{"", "/?", "https://localhost/?"} {
			text := r.Text("uri", before+query)
			for pair := range strings.SplitSeq(text[len(before):], "&") {
				left := place.credential(&http.Request{URL: &url.URL{RawQuery: pair}})
				if left != "" && left != "REDACTED" {
					t.Fatalf("%q shows %q in %q", before+query, left, text)
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

// FuzzRedactCookie holds the log against the gate: what the gate would take a credential from does not show it.
func FuzzRedactCookie(f *testing.F) {
	for _, s := range []string{
		"", "key=a", "a=b; key=c", `key="a"`, "key", "key =a", " key=a", "key=a;key=b", "=;", "\tkey=a", "k%65y=a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		place := placeOf(t, httpcred.Source{Cookie: "key"})
		r := redact.New(place.Names())
		for pair := range strings.SplitSeq(r.Text("Cookie", line), ";") {
			left := place.credential(&http.Request{Header: http.Header{"Cookie": {pair}}})
			if left != "" && left != "REDACTED" {
				t.Fatalf("%q shows %q", line, left)
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
