package adminapi

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// BenchmarkVerifyHandler is a verification that the cache answers, without the verifier and without the network.
func BenchmarkVerifyHandler(b *testing.B) {
	v := &fixedVerifier{result: verify.Result{Cache: verify.Hit, Verdict: &core.Verdict{
		Code: core.CodeValid, Status: core.StatusActive, Visibility: core.VisibilitySecret, KeyID: unknownUUID,
		ActorID: "user-1", Scopes: []string{"orders:read", "orders:write"}, Issuer: "http://localhost",
	}}}
	h := v.handler()
	body := strings.NewReader(`{"credential":"` + strings.Repeat("x", 110) + `"}`)
	r := apitest.Request(http.MethodPost, anyPath+":verify", "{}")
	r.Body, r.ContentLength = io.NopCloser(body), body.Size()
	w := httptest.NewRecorder()
	w.Body = nil
	b.ReportAllocs()
	for b.Loop() {
		_, _ = body.Seek(0, io.SeekStart)
		h.ServeHTTP(w, r)
	}
	if w.Code != http.StatusOK {
		b.Fatal(w.Code)
	}
}
