package gate

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestCacheControl_IsAddedOnlyWhereTheAppSetsNone(t *testing.T) {
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
