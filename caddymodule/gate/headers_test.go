package gate

import (
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

// newTestFilter takes a prefix and the headers that hold credentials, in any case.
func newTestFilter(t testing.TB, prefix string, headers ...string) *headerFilter {
	t.Helper()
	for i, name := range headers {
		headers[i] = textproto.CanonicalMIMEHeaderKey(name)
	}
	h, err := newHeaderFilter(headers, textproto.CanonicalMIMEHeaderKey(prefix))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHeaderFilter_HidesEverySpellingThatABackendMightFold(t *testing.T) {
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

func TestHeaderFilter_KnowsNamesThatBeginWithASeparator(t *testing.T) {
	t.Parallel()
	h := newTestFilter(t, "_Own-", "_Key")
	r := requestWith(t, "/")
	r.Header = http.Header{
		"-Own-Actor": {"x"}, "_own_actor": {"x"}, "-Key": {"x"}, "_key": {"kept"}, "Own-Actor": {"kept"},
	}
	h.strip(r)
	want := http.Header{"_key": {"kept"}, "Own-Actor": {"kept"}}
	if !maps.EqualFunc(r.Header, want, slices.Equal) {
		t.Errorf("headers %v, want %v", r.Header, want)
	}
}

func TestHeaderFilter_RemovesItsNamesFromConnection(t *testing.T) {
	t.Parallel()
	h := newTestFilter(t, defaultIdentity)
	for name, tc := range map[string]struct{ lines, want []string }{
		"nothing of ours": {[]string{"keep-alive , X-Foo"}, []string{"keep-alive , X-Foo"}},
		"ours among others": {
			[]string{"keep-alive, X-Talos-Actor", " x_talos_key_id ,Upgrade"}, []string{"keep-alive, Upgrade"},
		},
		"only ours": {[]string{"x-talos-actor"}, nil},
	} {
		r := requestWith(t, "/")
		r.Header["Connection"] = tc.lines
		h.strip(r)
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

func TestHeaderFilter_LooksThroughTrailersWhenTheyHaveCome(t *testing.T) {
	t.Parallel()
	h := newTestFilter(t, defaultIdentity, "Authorization")
	late := http.Header{
		"X-Talos-Actor": {"root"}, "X_talos_actor": {"root"}, "Authorization": {"Bearer k"}, "X-Checksum": {"1"},
	}

	r := requestWith(t, "/")
	r.Trailer = http.Header{"X-Checksum": nil, "X-Talos-Actor": nil}
	r.Body = &lateTrailer{strings.NewReader("body"), r.Trailer, late}
	h.strip(r)
	if _, ok := r.Trailer["X-Talos-Actor"]; ok || len(r.Trailer) != 1 {
		t.Errorf("announced: %v", r.Trailer)
	}
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != "body" {
		t.Fatalf("body %q, %v", body, err)
	}
	if len(r.Trailer) != 1 || r.Trailer.Get("X-Checksum") != "1" {
		t.Errorf("trailers %v", r.Trailer)
	}

	r = requestWith(t, "/")
	r.Trailer = http.Header{"X-Talos-Actor": nil}
	r.Body = &lateTrailer{strings.NewReader("body"), r.Trailer, late}
	h.strip(r)
	if _, err := io.ReadAll(r.Body); err != nil || r.Trailer != nil {
		t.Errorf("a request that announced nothing else has trailers %v, %v", r.Trailer, err)
	}
}

func TestCacheControl_IsAddedOnlyWhereTheAppSaysNothing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ app, want []string }{
		"nothing":             {nil, []string{"private"}},
		"a lifetime":          {[]string{"max-age=60"}, []string{"max-age=60", "private"}},
		"must-revalidate":     {[]string{"must-revalidate"}, []string{"must-revalidate", "private"}},
		"public":              {[]string{"max-age=60, Public"}, []string{"max-age=60, Public"}},
		"s-maxage":            {[]string{"s-maxage=1"}, []string{"s-maxage=1"}},
		"no-store":            {[]string{"no-store"}, []string{"no-store"}},
		"private for a field": {[]string{`private="Set-Cookie"`}, []string{`private="Set-Cookie"`}},
	} {
		for _, write := range []func(http.ResponseWriter) error{
			func(w http.ResponseWriter) error { w.WriteHeader(http.StatusTeapot); return nil },
			func(w http.ResponseWriter) error { _, err := io.WriteString(w, "x"); return err },
			func(w http.ResponseWriter) error { _, err := io.Copy(w, strings.NewReader("x")); return err },
			func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() },
			func(http.ResponseWriter) error { return nil },
		} {
			rec := newHeaderRecorder()
			w := newCacheControlWriter(rec)
			w.Header()["Cache-Control"] = slices.Clone(tc.app)
			w.WriteHeader(http.StatusEarlyHints)
			if h := w.Header()["Cache-Control"]; !slices.Equal(h, tc.app) {
				t.Errorf("%s: an informational answer was marked", name)
			}
			if err := finish(w, write(w)); err != nil {
				t.Fatal(err)
			}
			if got := rec.sent; got != nil && !slices.Equal(got["Cache-Control"], tc.want) {
				t.Errorf("%s: %q was sent, want %q", name, got["Cache-Control"], tc.want)
			}
			if got := rec.Header()["Cache-Control"]; !slices.Equal(got, tc.want) {
				t.Errorf("%s: %q, want %q", name, got, tc.want)
			}
		}
	}
}

// headerRecorder keeps the header as it was when it was sent.
type headerRecorder struct {
	header, sent http.Header
}

func newHeaderRecorder() *headerRecorder { return &headerRecorder{header: http.Header{}} }

func (r *headerRecorder) Header() http.Header { return r.header }

func (r *headerRecorder) WriteHeader(status int) {
	if status >= http.StatusOK && r.sent == nil {
		r.sent = r.header.Clone()
	}
}

func (r *headerRecorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return len(p), nil
}

func (r *headerRecorder) Flush() { r.WriteHeader(http.StatusOK) }
