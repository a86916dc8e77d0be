package httpcred_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
)

// newReader reads one source of each kind.
func newReader(t testing.TB) *httpcred.Reader {
	t.Helper()
	reader, err := httpcred.NewReader(
		httpcred.Source{Header: "authorization", Scheme: "bearer"}, httpcred.Source{Header: "x-api-key"},
		httpcred.Source{Query: "api_key"}, httpcred.Source{Cookie: "key"},
	)
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

// requestWith makes a request with header lines "Name: value".
func requestWith(t testing.TB, target string, lines ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		r.Header.Add(name, strings.Trim(value, " "))
	}
	return r
}

func TestReader_FindsTheOneCredential(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		target string
		lines  []string
		want   string
		err    error
	}{
		"nothing":                  {"/", nil, "", httpcred.ErrNoCredential},
		"a scheme":                 {"/", []string{"Authorization: Bearer k"}, "k", nil},
		"a scheme in another case": {"/", []string{"Authorization: bEaReR k"}, "k", nil},
		"spaces behind a scheme":   {"/", []string{"Authorization: Bearer    k"}, "k", nil},
		"a tab behind a scheme":    {"/", []string{"Authorization: Bearer\tk"}, "k", nil},
		"a longer scheme":          {"/", []string{"Authorization: Bearers k"}, "", httpcred.ErrNoCredential},
		"another scheme":           {"/", []string{"Authorization: Basic k"}, "", httpcred.ErrNoCredential},
		"two lines of another scheme": {
			"/", []string{"Authorization: Basic k", "Authorization: Digest k"}, "", httpcred.ErrNoCredential,
		},
		"an empty line":         {"/", []string{"Authorization:"}, "", httpcred.ErrNoCredential},
		"a scheme alone":        {"/", []string{"Authorization: Bearer"}, "", httpcred.ErrMalformed},
		"a scheme and a space":  {"/", []string{"Authorization: Bearer "}, "", httpcred.ErrMalformed},
		"a list":                {"/", []string{"Authorization: Bearer a, Bearer b"}, "", httpcred.ErrAmbiguous},
		"a list without spaces": {"/", []string{"Authorization: Bearer a,b"}, "", httpcred.ErrAmbiguous},
		"two words":             {"/", []string{"Authorization: Bearer a b"}, "", httpcred.ErrAmbiguous},
		"two lines": {
			"/", []string{"Authorization: Bearer a", "Authorization: Bearer b"}, "", httpcred.ErrAmbiguous,
		},
		"the same twice": {
			"/", []string{"Authorization: Bearer a", "Authorization: Bearer a"}, "", httpcred.ErrAmbiguous,
		},
		"a second line of another kind": {
			"/", []string{"Authorization: Basic a", "Authorization: Bearer a"}, "", httpcred.ErrAmbiguous,
		},
		"a second line, empty": {
			"/", []string{"Authorization: Bearer a", "Authorization:"}, "", httpcred.ErrAmbiguous,
		},
		"a whole header":       {"/", []string{"X-Api-Key: a, b"}, "a, b", nil},
		"a whole header twice": {"/", []string{"X-Api-Key: a", "X-Api-Key: a"}, "", httpcred.ErrAmbiguous},
		"an empty header":      {"/", []string{"X-Api-Key:"}, "", httpcred.ErrMalformed},
		"two headers": {
			"/", []string{"X-Api-Key: a", "Authorization: Bearer a"}, "", httpcred.ErrAmbiguous,
		},
		"two headers, one empty": {
			"/", []string{"X-Api-Key:", "Authorization: Bearer a"}, "", httpcred.ErrAmbiguous,
		},
		"a parameter":                 {"/?a=b&api_key=k&c", nil, "k", nil},
		"a parameter, encoded":        {"/?api%5fkey=a%2Bb+c", nil, "a+b c", nil},
		"a parameter of another name": {"/?Api_key=k&api_keys=k&xapi_key=k", nil, "", httpcred.ErrNoCredential},
		"a parameter twice":           {"/?api_key=a&api_key=b", nil, "", httpcred.ErrAmbiguous},
		"a parameter twice, encoded":  {"/?api_key=a&%61pi_key=b", nil, "", httpcred.ErrAmbiguous},
		"a parameter without a value": {"/?api_key", nil, "", httpcred.ErrMalformed},
		"a parameter, badly encoded":  {"/?api_key=%zz", nil, "", httpcred.ErrAmbiguous},
		"a parameter and a header":    {"/?api_key=a", []string{"Authorization: Bearer a"}, "", httpcred.ErrAmbiguous},
		"a parameter with NUL":        {"/?api_key=a%00", nil, "", httpcred.ErrMalformed},
		"a parameter, not UTF-8":      {"/?api_key=%ff", nil, "", httpcred.ErrMalformed},
		"a parameter of 16 KiB": {
			"/?api_key=" + strings.Repeat("a", 16<<10), nil, strings.Repeat("a", 16<<10), nil,
		},
		"a parameter over 16 KiB":  {"/?api_key=" + strings.Repeat("a", 16<<10+1), nil, "", httpcred.ErrMalformed},
		"a cookie":                 {"/", []string{"Cookie: a=b; key=k; c=d"}, "k", nil},
		"a cookie without space":   {"/", []string{"Cookie: a=b;key=k;c=d"}, "k", nil},
		"a cookie in quotes":       {"/", []string{`Cookie: key="k"`}, "k", nil},
		"a cookie of another case": {"/", []string{"Cookie: KEY=k; keys=k"}, "", httpcred.ErrNoCredential},
		"a cookie twice":           {"/", []string{"Cookie: key=a; key=a"}, "", httpcred.ErrAmbiguous},
		"a cookie in two lines":    {"/", []string{"Cookie: key=a", "Cookie: key=b"}, "", httpcred.ErrAmbiguous},
		"an empty cookie":          {"/", []string{"Cookie: key="}, "", httpcred.ErrMalformed},
		"a cookie and a parameter": {"/?api_key=a", []string{"Cookie: key=a"}, "", httpcred.ErrAmbiguous},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := newReader(t).Find(requestWith(t, tc.target, tc.lines...))
			got, err := found.Credential()
			if !errors.Is(err, tc.err) {
				t.Errorf("got the error %v, want %v", err, tc.err)
			}
			if got != tc.want {
				t.Errorf("credential %q, want %q", got, tc.want)
			}
		})
	}
}

func TestReader_LeavesNothingOfACredentialAndEverythingElse(t *testing.T) {
	t.Parallel()
	reader := newReader(t)
	r := requestWith(t, "/x?a=%20&api_key=SECRET&&b;c&%61pi_key=SECRET&d=e",
		"Authorization: Bearer SECRET", "X-Api-Key: SECRET", "Accept: x",
		"Cookie: a=b; key=SECRET", "Cookie: key=SECRET", "Cookie: c")
	shared := r.Header["Cookie"]
	reader.Strip(r, reader.Find(r).Where)
	if r.URL.RawQuery != "a=%20&&b;c&d=e" {
		t.Errorf("query %q", r.URL.RawQuery)
	}
	if r.RequestURI != "/x?a=%20&&b;c&d=e" {
		t.Errorf("request URI %q", r.RequestURI)
	}
	want := http.Header{"Accept": {"x"}, "Cookie": {"a=b", "c"}}
	if !maps.EqualFunc(r.Header, want, slices.Equal) {
		t.Errorf("headers %v, want %v", r.Header, want)
	}
	if shared[0] != "a=b; key=SECRET" {
		t.Error("a header's values, which may be shared, were written to")
	}
}

func TestReader_DropsTheQuestionMarkWithTheLastParameter(t *testing.T) {
	t.Parallel()
	reader := newReader(t)
	for target, want := range map[string]string{
		"/x?api_key=SECRET":                   "/x",
		"http://h/x?api_key=SECRET":           "http://h/x",
		"http://h/x?api_key=SECRET&b":         "http://h/x?b",
		"/x?api_key=SECRET&u=http://h/?a=b&c": "/x?u=http://h/?a=b&c",
	} {
		r := requestWith(t, target)
		reader.Strip(r, reader.Find(r).Where)
		if r.RequestURI != want {
			t.Errorf("%s became %s, want %s", target, r.RequestURI, want)
		}
	}
}

func TestFound_DoesNotShowTheCredential(t *testing.T) {
	t.Parallel()
	found := newReader(t).Find(requestWith(t, "/", "X-Api-Key: SECRET"))
	for _, verb := range []string{"%v", "%+v", "%s", "%#v"} {
		if text := fmt.Sprintf(verb, found); strings.Contains(text, "SECRET") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}
