package gate

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// allSources are one source of each kind.
func allSources(t testing.TB) []source {
	t.Helper()
	g := Gate{From: []Source{
		{Header: "authorization", Scheme: "bearer"}, {Header: "x-api-key"}, {Query: "api_key"}, {Cookie: "key"},
	}}
	if err := g.resolve(); err != nil {
		t.Fatal(err)
	}
	return g.sources
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
		"nothing":                  {"/", nil, "", reasonNoCredential},
		"a scheme":                 {"/", []string{"Authorization: Bearer k"}, "k", reasonOK},
		"a scheme in another case": {"/", []string{"Authorization: bEaReR k"}, "k", reasonOK},
		"spaces behind a scheme":   {"/", []string{"Authorization: Bearer    k"}, "k", reasonOK},
		"a tab behind a scheme":    {"/", []string{"Authorization: Bearer\tk"}, "k", reasonOK},
		"a longer scheme":          {"/", []string{"Authorization: Bearers k"}, "", reasonNoCredential},
		"another scheme":           {"/", []string{"Authorization: Basic k"}, "", reasonNoCredential},
		"two lines of another scheme": {
			"/", []string{"Authorization: Basic k", "Authorization: Digest k"}, "", reasonNoCredential,
		},
		"an empty line":         {"/", []string{"Authorization:"}, "", reasonNoCredential},
		"a scheme alone":        {"/", []string{"Authorization: Bearer"}, "", reasonMalformed},
		"a scheme and a space":  {"/", []string{"Authorization: Bearer "}, "", reasonMalformed},
		"a list":                {"/", []string{"Authorization: Bearer a, Bearer b"}, "", reasonAmbiguous},
		"a list without spaces": {"/", []string{"Authorization: Bearer a,b"}, "", reasonAmbiguous},
		"two words":             {"/", []string{"Authorization: Bearer a b"}, "", reasonAmbiguous},
		"two lines": {
			"/", []string{"Authorization: Bearer a", "Authorization: Bearer b"}, "", reasonAmbiguous,
		},
		"the same twice": {
			"/", []string{"Authorization: Bearer a", "Authorization: Bearer a"}, "", reasonAmbiguous,
		},
		"a second line of another kind": {
			"/", []string{"Authorization: Basic a", "Authorization: Bearer a"}, "", reasonAmbiguous,
		},
		"a second line, empty": {
			"/", []string{"Authorization: Bearer a", "Authorization:"}, "", reasonAmbiguous,
		},
		"a whole header":              {"/", []string{"X-Api-Key: a, b"}, "a, b", reasonOK},
		"a whole header twice":        {"/", []string{"X-Api-Key: a", "X-Api-Key: a"}, "", reasonAmbiguous},
		"an empty header":             {"/", []string{"X-Api-Key:"}, "", reasonMalformed},
		"two headers":                 {"/", []string{"X-Api-Key: a", "Authorization: Bearer a"}, "", reasonAmbiguous},
		"two headers, one empty":      {"/", []string{"X-Api-Key:", "Authorization: Bearer a"}, "", reasonAmbiguous},
		"a parameter":                 {"/?a=b&api_key=k&c", nil, "k", reasonOK},
		"a parameter, encoded":        {"/?api%5fkey=a%2Bb+c", nil, "a+b c", reasonOK},
		"a parameter of another name": {"/?Api_key=k&api_keys=k&xapi_key=k", nil, "", reasonNoCredential},
		"a parameter twice":           {"/?api_key=a&api_key=b", nil, "", reasonAmbiguous},
		"a parameter twice, encoded":  {"/?api_key=a&%61pi_key=b", nil, "", reasonAmbiguous},
		"a parameter without a value": {"/?api_key", nil, "", reasonMalformed},
		"a parameter, badly encoded":  {"/?api_key=%zz", nil, "", reasonAmbiguous},
		"a parameter and a header":    {"/?api_key=a", []string{"Authorization: Bearer a"}, "", reasonAmbiguous},
		"a parameter with NUL":        {"/?api_key=a%00", nil, "", reasonMalformed},
		"a parameter, not UTF-8":      {"/?api_key=%ff", nil, "", reasonMalformed},
		"a parameter of 16 KiB": {
			"/?api_key=" + strings.Repeat("a", 16<<10), nil, strings.Repeat("a", 16<<10), reasonOK,
		},
		"a parameter over 16 KiB":  {"/?api_key=" + strings.Repeat("a", 16<<10+1), nil, "", reasonMalformed},
		"a cookie":                 {"/", []string{"Cookie: a=b; key=k; c=d"}, "k", reasonOK},
		"a cookie without space":   {"/", []string{"Cookie: a=b;key=k;c=d"}, "k", reasonOK},
		"a cookie in quotes":       {"/", []string{`Cookie: key="k"`}, "k", reasonOK},
		"a cookie of another case": {"/", []string{"Cookie: KEY=k; keys=k"}, "", reasonNoCredential},
		"a cookie twice":           {"/", []string{"Cookie: key=a; key=a"}, "", reasonAmbiguous},
		"a cookie in two lines":    {"/", []string{"Cookie: key=a", "Cookie: key=b"}, "", reasonAmbiguous},
		"an empty cookie":          {"/", []string{"Cookie: key="}, "", reasonMalformed},
		"a cookie and a parameter": {"/?api_key=a", []string{"Cookie: key=a"}, "", reasonAmbiguous},
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

func TestStrip_LeavesNothingOfACredentialAndEverythingElse(t *testing.T) {
	t.Parallel()
	sources := allSources(t)
	r := requestWith(t, "/x?a=%20&api_key=SECRET&&b;c&%61pi_key=SECRET&d=e",
		"Authorization: Bearer SECRET", "X-Api-Key: SECRET", "Accept: x",
		"Cookie: a=b; key=SECRET", "Cookie: key=SECRET", "Cookie: c")
	shared := r.Header["Cookie"]
	stripCredential(sources, extract(sources, r).where, r)
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

func TestStrip_DropsTheQuestionMarkWithTheLastParameter(t *testing.T) {
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
