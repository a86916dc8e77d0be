package httpcred

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// newTestFilter takes a prefix and the headers that hold credentials.
func newTestFilter(t testing.TB, prefix string, headers ...string) *Filter {
	t.Helper()
	h, err := NewFilter(headers, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newRequest(t testing.TB) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
}

func TestFilter_HidesEverySpellingThatABackendMightFold(t *testing.T) {
	t.Parallel()
	h := newTestFilter(t, "x-talos-", "x-api-key", "Authorization")
	for name, want := range map[string]bool{
		"X-Talos-Actor":       true,
		"x-talos-actor":       true,
		"X_Talos_Actor":       true,
		"X_TALOS-ACTOR":       true,
		"X.Talos.Actor":       true,
		"X-Talos_Key_Id":      true,
		"X~Talos!Actor":       true,
		"X-Talos-":            true,
		"X-Talos-Of-Tomorrow": true,
		"X-Talos":             false,
		"X-Talosian":          false,
		"XX-Talos-Actor":      false,
		"XaTalosaActor":       false,
		"Talos-Actor":         false,
		"X_Api_Key":           true,
		"X-Api_Key":           true,
		"X-Api-Key":           false, // the credential itself is stripped, or kept, elsewhere
		"X-Api-Key2":          false,
		"Authorization":       false,
		"Accept":              false,
		"":                    false,
	} {
		if got := h.hides(name); got != want {
			t.Errorf("hides(%q) is %t", name, got)
		}
	}
}

func TestFilter_KnowsNamesThatBeginWithASeparator(t *testing.T) {
	t.Parallel()
	h := newTestFilter(t, "_Own-", "_Key")
	r := newRequest(t)
	r.Header = http.Header{
		"-Own-Actor": {"x"}, "_own_actor": {"x"}, "-Key": {"x"}, "_key": {"kept"}, "Own-Actor": {"kept"},
	}
	h.Strip(r)
	want := http.Header{"_key": {"kept"}, "Own-Actor": {"kept"}}
	if !maps.EqualFunc(r.Header, want, slices.Equal) {
		t.Errorf("headers %v, want %v", r.Header, want)
	}
}

func TestFilter_RemovesItsNamesFromConnection(t *testing.T) {
	t.Parallel()
	h := newTestFilter(t, DefaultPrefix)
	for name, tc := range map[string]struct{ lines, want []string }{
		"nothing of ours": {[]string{"keep-alive , X-Foo"}, []string{"keep-alive , X-Foo"}},
		"ours among others": {
			[]string{"keep-alive, X-Talos-Actor", " x_talos_key_id ,Upgrade"}, []string{"keep-alive, Upgrade"},
		},
		"only ours": {[]string{"x-talos-actor"}, nil},
	} {
		r := newRequest(t)
		r.Header["Connection"] = tc.lines
		h.Strip(r)
		if !slices.Equal(r.Header["Connection"], tc.want) {
			t.Errorf("%s: %q, want %q", name, r.Header["Connection"], tc.want)
		}
	}
}

// lateTrailer is a body that brings trailers with its end, as net/http's does.
type lateTrailer struct {
	io.Reader
	trailer, late http.Header
}

func (b *lateTrailer) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		for name, values := range b.late {
			b.trailer[name] = values
		}
	}
	return n, err
}

func (*lateTrailer) Close() error { return nil }

func TestFilter_LooksThroughTrailersWhenTheyHaveCome(t *testing.T) {
	t.Parallel()
	h := newTestFilter(t, DefaultPrefix, "Authorization")
	late := http.Header{
		"X-Talos-Actor": {"root"}, "X_talos_actor": {"root"}, "Authorization": {"Bearer k"}, "X-Checksum": {"1"},
	}

	r := newRequest(t)
	r.Trailer = http.Header{"X-Checksum": nil, "X-Talos-Actor": nil}
	r.Body = &lateTrailer{strings.NewReader("body"), r.Trailer, late}
	h.Strip(r)
	if _, ok := r.Trailer["X-Talos-Actor"]; ok || len(r.Trailer) != 1 {
		t.Errorf("announced: %v", r.Trailer)
	}
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != "body" {
		t.Fatalf("body %q, %v", body, err)
	}
	if len(r.Trailer) != 1 || r.Trailer.Get("X-Checksum") != "1" {
		t.Errorf("trailers %v", r.Trailer)
	}

	r = newRequest(t)
	r.Trailer = http.Header{"X-Talos-Actor": nil}
	r.Body = &lateTrailer{strings.NewReader("body"), r.Trailer, late}
	h.Strip(r)
	if _, err := io.ReadAll(r.Body); err != nil || r.Trailer != nil {
		t.Errorf("a request that announced nothing else has trailers %v, %v", r.Trailer, err)
	}
}
