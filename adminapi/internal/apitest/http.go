package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

// Request makes a request with a JSON body, unless that is empty.
func Request(method, path, body string) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// Serve has a request answered.
func Serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Post sends a JSON body.
func Post(h http.Handler, path, body string) *httptest.ResponseRecorder {
	return Serve(h, Request(http.MethodPost, path, body))
}

// Get reads.
func Get(h http.Handler, path string) *httptest.ResponseRecorder {
	return Serve(h, Request(http.MethodGet, path, ""))
}

// Unmarshal reads JSON.
func Unmarshal[T any](t *testing.T, b []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return v
}

// Marshal writes JSON.
func Marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// WantError checks the whole of an error's answer but for its message.
func WantError(t *testing.T, w *httptest.ResponseRecorder, status int, reason core.Reason) client.ErrorBody {
	t.Helper()
	if w.Code != status {
		t.Fatalf("got %d %s, want %d %s", w.Code, w.Body, status, reason)
	}
	WantHeaders(t, w)
	e := Unmarshal[client.ErrorResponse](t, w.Body.Bytes()).Error
	if e.Code != status || e.Message == "" || e.Status == "" || len(e.Details) != 1 {
		t.Fatalf("incomplete envelope %s", w.Body)
	}
	d := e.Details[0]
	if d.Reason != string(reason) || d.Type != client.ErrorInfoType || d.Domain != client.ErrorDomain {
		t.Fatalf("got details %+v, want reason %s", d, reason)
	}
	return e
}

// WantHeaders checks the headers of every answer.
func WantHeaders(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	// Without a line's end, a shell's prompt follows the body on its line.
	body := w.Body.String()
	if !strings.HasSuffix(body, "\n") || w.Header().Get("Content-Length") != strconv.Itoa(len(body)) {
		t.Errorf("Content-Length %s of %q", w.Header().Get("Content-Length"), body)
	}
}

// ErrDown is a store that does not answer, with a detail that no answer may have.
func ErrDown() error {
	return core.WrapError(core.Unavailable, "the database does not answer", errors.New("disk-detail"))
}

// LogBuffer is a buffer for logs.
type LogBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends.
func (b *LogBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// Sync does nothing.
func (*LogBuffer) Sync() error { return nil }

// String is what was written.
func (b *LogBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// DebugLogger logs everything into a buffer.
func DebugLogger(to *LogBuffer) *zap.Logger {
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), to, zap.DebugLevel))
}

// AsEdge asks as an edge does.
func AsEdge(h http.Handler, path, body string) *httptest.ResponseRecorder {
	r := Request(http.MethodPost, path, body)
	r.Header.Set("Talos-Edge", "1")
	return Serve(h, r)
}

// WantPosition checks that an edge is told of a feed position.
func WantPosition(t *testing.T, w *httptest.ResponseRecorder, position string) {
	t.Helper()
	if edge, at := w.Header().Get("Talos-Edge"), w.Header().Get("Talos-Position"); edge != "1" || at != position {
		t.Errorf("got Talos-Edge %q at %q, want 1 at %q", edge, at, position)
	}
}

// Patch sends an update, with a mask unless that is empty.
func Patch(h http.Handler, path, mask, body string) *httptest.ResponseRecorder {
	r := Request(http.MethodPatch, path, body)
	if mask != "" {
		r.URL.RawQuery = url.Values{"update_mask": {mask}}.Encode()
	}
	return Serve(h, r)
}
