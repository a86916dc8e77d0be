package adminapi

import (
	"bufio"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
)

// adminSpellings are paths that some server takes for one of the private surface.
var adminSpellings = []string{
	"/v2alpha1/admin",
	"/v2alpha1/admin/",
	"/v2alpha1/admin/issuedApiKeys",
	"/v2alpha1/admin/apiKeys:verify?x=1",
	"/V2ALPHA1/Admin/issuedApiKeys",
	"//v2alpha1/admin/issuedApiKeys",
	"/v2alpha1//admin/issuedApiKeys",
	"/./v2alpha1/./admin/x",
	"/x/../v2alpha1/admin/x",
	"/../v2alpha1/admin/x",
	"/v2alpha1/x/../admin/x",
	"/v2alpha1//../v2alpha1/admin/x",
	"/v2alpha1/x//../../admin/x",
	"/v2alpha1/x//../admin/x",
	"/v2alpha1/apiKeys:selfRevoke/../admin/x",
	"/v2alpha1/%61dmin/x",
	"/v2alpha1/%2561dmin/x",
	"/v2alpha1/%252561dmin/x",
	"/v2alpha1%2fadmin/x",
	"/v2alpha1%252Fadmin/x",
	"/v2alpha1/x%2f..%2fadmin/x",
	"/v2alpha1/x%2f/../admin/x",
	"/%2e%2e/v2alpha1/admin/x",
	"/x/%2e%2E/v2alpha1/admin/x",
	"/x/.%2e/v2alpha1/admin/x",
	"/v2alpha1;v=1/admin/x",
	"/v2alpha1/admin;v=1/x",
	"/v2alpha1/admin/..;/x",
	"/x/..;/v2alpha1/admin/x",
	"/x/..;a=b/v2alpha1/admin/x",
	"/;/v2alpha1/;/admin/x",
	"/v2alpha1%3bv=1/admin/x",
	"/v2alpha1%5cadmin%5cx",
	`/v2alpha1\admin\x`,
	"/x%5c..%5cv2alpha1/admin",
	"/v2alpha1/admin%00/x",
	"/v2alpha1%00/admin/x",
	"/v2alpha1/ad%0amin/x",
	"/v2alpha1/ad%09min/x",
	"/v2alpha1/admin./x",
	"/v2alpha1./admin/x",
	"/v2alpha1%20/admin/x",
	"/v2alpha1/x/..%20/admin/x",
	"/v2alpha1/adm%C4%B0n/x",
	"/v2alpha1/admin/../x",
	"/%25252525252e",
	"/v2alpha1/%25252561dmin",
	"http://localhost/v2alpha1/admin/x",
	"http://localhost//v2alpha1/%61dmin/x",
}

// otherPaths are paths of an app, which must reach it.
var otherPaths = []string{
	"/",
	"*",
	"/v2alpha1",
	"/v2alpha1/",
	"/v2alpha1/apiKeys",
	"/v2alpha1/apiKeys:selfRevoke/",
	"/v2alpha1/apiKeys%3AselfRevoke",
	"/v2alpha1/adm",
	"/v2alpha1/x/admin",
	"/app/v2alpha1/admin",
	"/admin/v2alpha1",
	"/admin",
	"/a%20b/c%2Fd",
	"/100%25/done",
	"/files/100%2525.txt",
	"/search;sessionid=1/x?q=/v2alpha1/admin",
	"/?next=/v2alpha1/admin/issuedApiKeys",
	"/caf%C3%A9/%E2%82%AC",
	"/.well-known/security.txt",
	"/x/../y",
	"/a//b",
}

func TestAttack13_NoSpellingOfAnAdminPathIsPublic(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, target := range adminSpellings {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
			apitest.WantError(t, apitest.Serve(n.publicHandler(), readRequest(t, method, target)),
				http.StatusNotFound, "NOT_FOUND")
		}
	}
}

func TestPathsOfAnAppPassThePublicSurface(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, target := range otherPaths {
		if w := apitest.Serve(n.publicHandler(), readRequest(t, http.MethodGet, target)); w.Code != 299 {
			t.Errorf("%s: got %d instead of the app's answer", target, w.Code)
		}
	}
}

func TestAttack13_AMethodOverrideDoesNotReachAnotherOperation(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	r := apitest.Request(http.MethodGet, selfRevokePath, "")
	r.Header.Set("X-HTTP-Method-Override", http.MethodPost)
	apitest.WantError(t, apitest.Serve(n.publicHandler(), r), http.StatusMethodNotAllowed, MethodNotAllowed)
}

func TestAnAdminPathIsFoundWhereOnlyTheRawOrTheOpaquePathHasIt(t *testing.T) {
	t.Parallel()
	for _, u := range []*url.URL{
		{Path: "/x", RawPath: "/v2alpha1/%61dmin"}, // a rewrite that left the raw path behind
		{Opaque: "/v2alpha1/admin"},
	} {
		if !IsAdminPath(u) {
			t.Errorf("%#v is not found", u)
		}
	}
}

func TestLookingAtAPlainPathTakesNoMemory(t *testing.T) {
	u := &url.URL{Path: "/api/orders/42/items.json"}
	if n := testing.AllocsPerRun(100, func() { _ = IsAdminPath(u) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// readRequest reads a request as a server does, so that the target is as it came over the wire.
func readRequest(t *testing.T, method, target string) *http.Request {
	t.Helper()
	text := method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	return r
}

// FuzzIsAdminPath checks that whatever reads as a path of the private surface to a server that decodes up to three
// times and cleans paths as net/http does, is found.
func FuzzIsAdminPath(f *testing.F) {
	for _, s := range adminSpellings {
		f.Add(s)
	}
	for _, s := range otherPaths {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		found := IsAdminPath(u)
		read := u.EscapedPath()
		for range maxDecodings + 1 {
			for _, s := range []string{read, strings.ReplaceAll(read, `\`, "/")} {
				if clean := path.Clean("/" + s); hasAdminPrefix(clean) && !found {
					t.Fatalf("%q reads as %q", target, clean)
				}
			}
			if read, err = url.PathUnescape(read); err != nil {
				break
			}
		}
		// What our own routing takes for an operation of the private surface is always found, but for the description
		// of the API: an app behind the public surface may have one of its own at this path.
		route, _ := Find(u.Path)
		if route != nil && !route.operations[0].public && u.Path != openAPIPath && !found {
			t.Fatalf("%q is an operation", target)
		}
	})
}
