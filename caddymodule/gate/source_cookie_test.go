package gate

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/redact"
)

// FuzzExtractCookie compares the gate's reading of cookies with the standard library's.
func FuzzExtractCookie(f *testing.F) {
	for _, s := range []string{
		"", "key=a", "a=b; key=c", `key="a"`, "key", "key =a", " key=a", "key=a;key=b", "=;", "\tkey=a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r := &http.Request{URL: &url.URL{Path: "/"}, Header: http.Header{"Cookie": {line}}}
		sources := []source{cookieSource{"key"}}
		p := extract(sources, r)
		want := r.CookiesNamed("key")
		if len(want) > p.count {
			t.Fatalf("%q has %d, found %d", line, len(want), p.count)
		}
		if p.reason() == reasonOK && len(want) == 1 && p.credential != want[0].Value {
			t.Fatalf("%q: credential %q, want %q", line, p.credential, want[0].Value)
		}
		stripCredential(sources, p.where, r)
		if left := r.CookiesNamed("key"); len(left) != 0 {
			t.Fatalf("%q: %q is left", line, r.Header["Cookie"])
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
		source := cookieSource{"key"}
		r := redact.New(source.Names())
		for pair := range strings.SplitSeq(r.Text("Cookie", line), ";") {
			left := source.extract(&http.Request{Header: http.Header{"Cookie": {pair}}})
			if left.credential != "" && left.credential != "REDACTED" {
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
