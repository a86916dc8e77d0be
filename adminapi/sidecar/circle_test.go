package sidecar

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

// A sidecar that is its own upstream, at once or by way of another, would make endless requests of one.
func TestARequestThatGoesInACircleEnds(t *testing.T) {
	t.Parallel()
	for name, through := range map[string]func(t *testing.T, s *sidecarNode) http.Handler{
		"its own upstream": func(_ *testing.T, s *sidecarNode) http.Handler { return s.admin },
		"a ring of two": func(t *testing.T, s *sidecarNode) http.Handler {
			t.Helper()
			other := newSidecarNode(t)
			other.answers(s.admin.ServeHTTP)
			return other.admin
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSidecarNode(t)
			back := through(t, s)
			var asked atomic.Int64
			s.answers(func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) > 20 {
					w.WriteHeader(http.StatusTeapot) // it would not end by itself
					return
				}
				back.ServeHTTP(w, r)
			})
			r := apitest.Request(http.MethodGet, issuedPath+"/6f3cbd64-3f0b-4d7e-9f5e-0c6a5a6b7c8d", "")
			w := apitest.Serve(s.admin, r)
			apitest.WantError(t, w, http.StatusServiceUnavailable, core.Unavailable)
			if n := asked.Load(); n > 3 {
				t.Errorf("one request became %d", n)
			}
			if !strings.Contains(s.logs.String(), "circle") {
				t.Error("the log does not say why")
			}
		})
	}
}

func TestARequestThatHasPassedManySidecarsIsRefused(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	s.answers(func(http.ResponseWriter, *http.Request) { t.Error("the upstream was asked") })
	r := apitest.Request(http.MethodGet, issuedPath+"/6f3cbd64-3f0b-4d7e-9f5e-0c6a5a6b7c8d", "")
	for range maxMarks {
		r.Header.Add(markHeader, "another")
	}
	apitest.WantError(t, apitest.Serve(s.admin, r), http.StatusServiceUnavailable, core.Unavailable)
}
