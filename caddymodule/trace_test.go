package caddymodule_test

import (
	"context"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/talos-edge/talos-edge/core/engine"
)

// spanRecorder is an exporter of traces that keeps the attributes of spans, by the path of their request.
type spanRecorder struct {
	mu    sync.Mutex
	spans map[string]map[string]string
}

func (r *spanRecorder) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, span := range spans {
		attributes := map[string]string{}
		for _, a := range span.Attributes() {
			attributes[string(a.Key)] = a.Value.String()
		}
		r.spans[attributes["url.path"]] = attributes
	}
	return nil
}

func (*spanRecorder) Shutdown(context.Context) error { return nil }

// recordSpans has Caddy's tracing export to a recorder.
var recordSpans = sync.OnceValue(func() *spanRecorder {
	r := &spanRecorder{spans: map[string]map[string]string{}}
	autoexport.RegisterSpanExporter("talos_test", func(context.Context) (sdktrace.SpanExporter, error) {
		return r, nil
	})
	return r
})

func TestTheSpanOfARequestHasTheDecision(t *testing.T) {
	recorder := recordSpans()
	t.Setenv("OTEL_TRACES_EXPORTER", "talos_test")
	e := startEdge(t, edgeConfig{Site: `
		tracing
		talos_gate
		route {
			talos_gate /twice {
				scopes orders:read
			}
			reverse_proxy BACKEND
		}`})
	id, key := e.issue(engine.IssueRequest{})
	revokedID, revoked := e.issue(engine.IssueRequest{})
	e.revoke(revokedID)
	e.get("/admitted", "Authorization", "Bearer "+key)
	e.get("/twice", "Authorization", "Bearer "+key)
	e.get("/revoked", "Authorization", "Bearer "+revoked)
	e.get("/none")
	if err := caddy.Stop(); err != nil { // exports what is left
		t.Fatal(err)
	}
	recorder.mu.Lock()
	defer recorder.mu.Unlock()
	for path, want := range map[string]map[string]string{
		"/admitted": {"decision": "admitted", "reason": "ok", "key_id": id, "cache": "miss", "status": "200"},
		"/twice":    {"decision": "refused", "reason": "scope", "key_id": id, "status": "403"},
		"/revoked":  {"decision": "refused", "reason": "revoked", "key_id": revokedID, "status": "401"},
		"/none":     {"decision": "refused", "reason": "no_credential", "key_id": "", "cache": "", "status": "401"},
	} {
		got := recorder.spans[path]
		if got == nil {
			t.Errorf("%s: no span", path)
			continue
		}
		for name, value := range want {
			attribute := "talos." + name
			if name == "status" {
				attribute = "http.response.status_code"
			}
			if got[attribute] != value {
				t.Errorf("%s: %s is %q, want %q: %v", path, attribute, got[attribute], value, got)
			}
		}
	}
}
