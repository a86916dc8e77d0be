package httpcred_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
)

func TestReader_RefusesSourcesThatAreNone(t *testing.T) {
	t.Parallel()
	for name, sources := range map[string][]httpcred.Source{
		"no place":               {{}},
		"two places in one":      {{Header: "X-Api-Key", Query: "key"}},
		"a scheme and no header": {{Query: "key", Scheme: "Bearer"}},
		"no header's name":       {{Header: "a b"}},
		"a header that frames":   {{Header: "content-length"}},
		"no cookie's name":       {{Cookie: "a;b"}},
		"the same twice":         {{Header: "X-Api-Key"}, {Header: "x-api-key", Scheme: "Key"}},
		"too many":               slices.Repeat([]httpcred.Source{{Query: "a"}}, httpcred.MaxSources+1),
	} {
		if _, err := httpcred.NewReader(sources...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestReader_SaysWhatCachesMustKnow(t *testing.T) {
	t.Parallel()
	reader := newReader(t)
	if got := reader.Vary(); got != "Authorization, X-Api-Key, Cookie" {
		t.Errorf("Vary is %q", got)
	}
	for line, want := range map[string]bool{
		"Authorization: Bearer k": false, "X-Api-Key: k": true, "Cookie: key=k": true,
	} {
		if got := reader.Unshared(reader.Find(requestWith(t, "/", line)).Where); got != want {
			t.Errorf("%s: %t", line, got)
		}
	}
	if found := reader.Find(requestWith(t, "/?api_key=k")); reader.InURL(found.Where) == 0 {
		t.Error("the query is not in the URL")
	}
}

func TestParseSource_ReadsWhatAPlaceIsWrittenAs(t *testing.T) {
	t.Parallel()
	for _, words := range [][]string{
		{"header", "X-Api-Key"}, {"header", "Authorization", "Bearer"}, {"query", "key"}, {"cookie", "key"},
	} {
		source, err := httpcred.ParseSource(words...)
		if err != nil {
			t.Fatal(err)
		}
		reader, err := httpcred.NewReader(source)
		if err != nil {
			t.Fatal(err)
		}
		if got := reader.Places()[0].String(); got != strings.Join(words, " ") {
			t.Errorf("%q became %q", words, got)
		}
	}
	for _, words := range [][]string{nil, {"header"}, {"query", "a", "b"}, {"body", "a"}} {
		if _, err := httpcred.ParseSource(words...); err == nil {
			t.Errorf("%q: no error", words)
		}
	}
}
