package gate

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// allSources are one source of each kind.
func allSources(t testing.TB) []Source {
	t.Helper()
	g := Gate{From: []Source{
		{Header: "authorization", Scheme: "bearer"}, {Header: "x-api-key"}, {Query: "api_key"}, {Cookie: "key"},
	}}
	if err := g.resolve(); err != nil {
		t.Fatal(err)
	}
	return g.From
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

func TestExtract_FindsTheOneCredential(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		target string
		lines  []string
		want   string
		reason reason
	}{
		"nothing":                       {"/", nil, "", reasonNoCredential},
		"a scheme":                      {"/", []string{"Authorization: Bearer k"}, "k", reasonOK},
		"a scheme in another case":      {"/", []string{"Authorization: bEaReR k"}, "k", reasonOK},
		"spaces behind a scheme":        {"/", []string{"Authorization: Bearer    k"}, "k", reasonOK},
		"a tab behind a scheme":         {"/", []string{"Authorization: Bearer\tk"}, "k", reasonOK},
		"a longer scheme":               {"/", []string{"Authorization: Bearers k"}, "", reasonNoCredential},
		"another scheme":                {"/", []string{"Authorization: Basic k"}, "", reasonNoCredential},
		"two lines of another scheme":   {"/", []string{"Authorization: Basic k", "Authorization: Digest k"}, "", reasonNoCredential},
		"an empty line":                 {"/", []string{"Authorization:"}, "", reasonNoCredential},
		"a scheme alone":                {"/", []string{"Authorization: Bearer"}, "", reasonMalformed},
		"a scheme and a space":          {"/", []string{"Authorization: Bearer "}, "", reasonMalformed},
		"a list":                        {"/", []string{"Authorization: Bearer a, Bearer b"}, "", reasonAmbiguous},
		"a list without spaces":         {"/", []string{"Authorization: Bearer a,b"}, "", reasonAmbiguous},
		"two words":                     {"/", []string{"Authorization: Bearer a b"}, "", reasonAmbiguous},
		"two lines":                     {"/", []string{"Authorization: Bearer a", "Authorization: Bearer b"}, "", reasonAmbiguous},
		"the same twice":                {"/", []string{"Authorization: Bearer a", "Authorization: Bearer a"}, "", reasonAmbiguous},
		"a second line of another kind": {"/", []string{"Authorization: Basic a", "Authorization: Bearer a"}, "", reasonAmbiguous},
		"a second line, empty":          {"/", []string{"Authorization: Bearer a", "Authorization:"}, "", reasonAmbiguous},
		"a whole header":                {"/", []string{"X-Api-Key: a, b"}, "a, b", reasonOK},
		"a whole header twice":          {"/", []string{"X-Api-Key: a", "X-Api-Key: a"}, "", reasonAmbiguous},
		"an empty header":               {"/", []string{"X-Api-Key:"}, "", reasonMalformed},
		"two headers":                   {"/", []string{"X-Api-Key: a", "Authorization: Bearer a"}, "", reasonAmbiguous},
		"two headers, one empty":        {"/", []string{"X-Api-Key:", "Authorization: Bearer a"}, "", reasonAmbiguous},
		"a parameter":                   {"/?a=b&api_key=k&c", nil, "k", reasonOK},
		"a parameter, encoded":          {"/?api%5fkey=a%2Bb+c", nil, "a+b c", reasonOK},
		"a parameter of another name":   {"/?Api_key=k&api_keys=k&xapi_key=k", nil, "", reasonNoCredential},
		"a parameter twice":             {"/?api_key=a&api_key=b", nil, "", reasonAmbiguous},
		"a parameter twice, encoded":    {"/?api_key=a&%61pi_key=b", nil, "", reasonAmbiguous},
		"a parameter without a value":   {"/?api_key", nil, "", reasonMalformed},
		"a parameter, badly encoded":    {"/?api_key=%zz", nil, "", reasonAmbiguous},
		"a parameter and a header":      {"/?api_key=a", []string{"Authorization: Bearer a"}, "", reasonAmbiguous},
		"a parameter with NUL":          {"/?api_key=a%00", nil, "", reasonMalformed},
		"a parameter, not UTF-8":        {"/?api_key=%ff", nil, "", reasonMalformed},
		"a parameter of 16 KiB":         {"/?api_key=" + strings.Repeat("a", 16<<10), nil, strings.Repeat("a", 16<<10), reasonOK},
		"a parameter over 16 KiB":       {"/?api_key=" + strings.Repeat("a", 16<<10+1), nil, "", reasonMalformed},
		"a cookie":                      {"/", []string{"Cookie: a=b; key=k; c=d"}, "k", reasonOK},
		"a cookie without space":        {"/", []string{"Cookie: a=b;key=k;c=d"}, "k", reasonOK},
		"a cookie in quotes":            {"/", []string{`Cookie: key="k"`}, "k", reasonOK},
		"a cookie of another case":      {"/", []string{"Cookie: KEY=k; keys=k"}, "", reasonNoCredential},
		"a cookie twice":                {"/", []string{"Cookie: key=a; key=a"}, "", reasonAmbiguous},
		"a cookie in two lines":         {"/", []string{"Cookie: key=a", "Cookie: key=b"}, "", reasonAmbiguous},
		"an empty cookie":               {"/", []string{"Cookie: key="}, "", reasonMalformed},
		"a cookie and a parameter":      {"/?api_key=a", []string{"Cookie: key=a"}, "", reasonAmbiguous},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := extract(allSources(t), requestWith(t, tc.target, tc.lines...))
			if p.reason() != tc.reason {
				t.Errorf("reason %s, want %s", reasonNames[p.reason()], reasonNames[tc.reason])
			}
			if tc.reason == reasonOK && p.credential != tc.want {
				t.Errorf("credential %q, want %q", p.credential, tc.want)
			}
		})
	}
}

func TestTakeOff_LeavesNothingOfACredentialAndEverythingElse(t *testing.T) {
	t.Parallel()
	sources := allSources(t)
	r := requestWith(t, "/x?a=%20&api_key=SECRET&&b;c&%61pi_key=SECRET&d=e",
		"Authorization: Bearer SECRET", "X-Api-Key: SECRET", "Cookie: a=b; key=SECRET", "Cookie: key=SECRET", "Cookie: c", "Accept: x")
	shared := r.Header["Cookie"]
	stripCredential(sources, extract(sources, r).where, r)
	if r.URL.RawQuery != "a=%20&&b;c&d=e" || r.RequestURI != "/x?a=%20&&b;c&d=e" {
		t.Errorf("query %q, request URI %q", r.URL.RawQuery, r.RequestURI)
	}
	if len(r.Header) != 2 || !slices.Equal(r.Header["Cookie"], []string{"a=b", "c"}) || r.Header.Get("Accept") != "x" {
		t.Errorf("headers %v", r.Header)
	}
	if shared[0] != "a=b; key=SECRET" {
		t.Error("a header's values, which may be shared, were written to")
	}
}

func TestTakeOff_DropsTheQuestionMarkWithTheLastParameter(t *testing.T) {
	t.Parallel()
	sources := allSources(t)
	for target, want := range map[string]string{
		"/x?api_key=SECRET":                   "/x",
		"http://h/x?api_key=SECRET":           "http://h/x",
		"http://h/x?api_key=SECRET&b":         "http://h/x?b",
		"/x?api_key=SECRET&u=http://h/?a=b&c": "/x?u=http://h/?a=b&c",
	} {
		r := requestWith(t, target)
		stripCredential(sources, extract(sources, r).where, r)
		if r.RequestURI != want {
			t.Errorf("%s became %s, want %s", target, r.RequestURI, want)
		}
	}
}

// FuzzExtractQuery compares the gate's reading of a query with the standard library's: no parameter that an app would
// take for the credential is overlooked or left behind.
func FuzzExtractQuery(f *testing.F) {
	for _, s := range []string{"", "api_key=a", "api%5Fkey=a&b", "api_key=%zz", "a;api_key=b", "api_key=a&api_key=b", "&&=", "api_key+=x", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := &http.Request{URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{}}
		sources := []Source{{Query: "api_key"}}
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

// FuzzExtractCookie does the same for cookies.
func FuzzExtractCookie(f *testing.F) {
	for _, s := range []string{"", "key=a", "a=b; key=c", `key="a"`, "key", "key =a", " key=a", "key=a;key=b", "=;", "\tkey=a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r := &http.Request{URL: &url.URL{Path: "/"}, Header: http.Header{"Cookie": {line}}}
		sources := []Source{{Cookie: "key"}}
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
