package adminapi

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

func getPage(n *node, method, accept string) *httptest.ResponseRecorder {
	r := apitest.Request(method, "/", "")
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	return apitest.Serve(n.admin, r)
}

func TestABrowserGetsAPageAndAToolGetsJSON(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for accept, want := range map[string]string{
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "text/html; charset=utf-8",
		"application/json, Text/HTML ; q=0.5":                             "text/html; charset=utf-8",
		"*/*":                                                             "application/json",
		"":                                                                "application/json",
		"application/json":                                                "application/json",
		"text/html;q=0, */*":                                              "application/json",
		"text/html; a=b; Q=0.00":                                          "application/json",
		"text/htmlx, xtext/html":                                          "application/json",
	} {
		res := getPage(n, http.MethodGet, accept)
		if got := res.Header().Get("Content-Type"); res.Code != http.StatusOK || got != want {
			t.Errorf("Accept %q: %d %s, want %s", accept, res.Code, got, want)
		}
		if got := res.Header().Get("Vary"); got != "Accept" {
			t.Errorf("Accept %q: Vary is %q", accept, got)
		}
	}
}

func TestThePageLoadsNothingRunsNothingAndIsShownInNoOther(t *testing.T) {
	t.Parallel()
	r := apitest.Request(http.MethodGet, "/", "")
	r.Header.Set("Accept", "text/html")
	w := apitest.Serve(newNode(t).admin, r)
	text := w.Body.String()
	_, style, _ := strings.Cut(text, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'sha256-" +
			base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"Cache-Control": "no-store", "Content-Length": strconv.Itoa(len(text)),
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, no := range []string{"<script", " style=", "javascript:", " src=", " onclick", "<form", "VERSION"} {
		if strings.Contains(text, no) {
			t.Errorf("the page has %q", no)
		}
	}
}

func TestEachLinkOfThePageThatIsOnThisServerAnswers(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	text, _ := page()
	links := regexp.MustCompile(`href="([^"]+)"`).FindAllSubmatch(text, -1)
	if len(links) < 4 {
		t.Fatalf("%d links", len(links))
	}
	for _, link := range links {
		target := string(link[1])
		if strings.HasPrefix(target, "https://github.com/") {
			continue
		}
		if w := apitest.Get(n.admin, target); w.Code != http.StatusOK {
			t.Errorf("%s: %d", target, w.Code)
		}
	}
}

func TestThePageTakesNoOtherMethodAndIsOnThePrivateSurfaceOnly(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	if res := getPage(n, http.MethodHead, "text/html"); res.Code != http.StatusOK {
		t.Errorf("HEAD: %d", res.Code)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		w := apitest.Serve(n.admin, apitest.Request(method, "/", ""))
		apitest.WantError(t, w, http.StatusMethodNotAllowed, MethodNotAllowed)
		if allow := w.Header().Get("Allow"); allow != "GET, HEAD" {
			t.Errorf("%s: Allow is %q", method, allow)
		}
	}
	if w := apitest.Get(n.publicHandler(), "/"); w.Code != 299 {
		t.Errorf("the public surface answers %d, not the app behind it", w.Code)
	}
	for _, path := range []string{"/index.html", "//", "/%2f", "/../"} {
		r := apitest.Request(http.MethodGet, "/", "")
		r.URL.Path, r.URL.RawPath = path, ""
		apitest.WantError(t, apitest.Serve(n.admin, r), http.StatusNotFound, core.NotFound)
	}
}
