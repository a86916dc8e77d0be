package redact

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// BenchmarkLogLine encodes a line of the access log as JSON: as it is, with talos_redact, and with the filters of Caddy
// that do a part of the same. `talos_redact / json` is what keeping credentials out of a log costs.
func BenchmarkLogLine(b *testing.B) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: b.Context()})
	defer cancel()
	known.add(Names{
		Headers: []string{"Authorization", "X-Api-Key"}, Queries: []string{"api_key"}, Cookies: []string{"key"},
	})
	for _, format := range []struct{ name, config string }{
		{"json", `{}`},
		{"talos_redact", `{"wrap":{"format":"json"}}`},
		{"filter", `{"wrap":{"format":"json"},"fields":{
			"request>headers>X-Api-Key":{"filter":"replace","value":"REDACTED"},
			"request>uri":{"filter":"query","actions":[
				{"type":"replace","parameter":"api_key","value":"REDACTED"}
			]}}}`},
	} {
		loaded, err := ctx.LoadModuleByID("caddy.logging.encoders."+format.name, json.RawMessage(format.config))
		if err != nil {
			b.Fatal(err)
		}
		encoder, ok := loaded.(zapcore.Encoder)
		if !ok {
			b.Fatalf("%T is not an encoder", loaded)
		}
		const key = "acme_2VxQ9kPm7Yh3Rt6Zn8Wb4Lc5Jd1Fg_a1b2c3"
		b.Run("header/"+format.name, func(b *testing.B) {
			r := benchRequest(b)
			r.Header["X-Api-Key"] = []string{key}
			benchLogLine(b, encoder, r)
		})
		b.Run("query/"+format.name, func(b *testing.B) {
			r := benchRequest(b)
			r.RequestURI += "&api_key=" + key
			benchLogLine(b, encoder, r)
		})
	}
}

// benchLogLine encodes what a server logs of a request: the request itself first, and the rest when it is answered.
func benchLogLine(b *testing.B, encoder zapcore.Encoder, r *http.Request) {
	b.Helper()
	b.ReportAllocs()
	r.RemoteAddr = "203.0.113.9:4711"
	request := zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: r})
	response := http.Header{
		"Content-Type": {"application/json"}, "Cache-Control": {"private, max-age=60"}, "Server": {"Caddy"},
	}
	fields := []zapcore.Field{
		zap.Int("bytes_read", 0), zap.String("user_id", "550e8400-e29b-41d4-a716-446655440001"),
		zap.Duration("duration", time.Millisecond), zap.Int("size", 512), zap.Int("status", http.StatusOK),
		zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{Header: response}),
	}
	entry := zapcore.Entry{Time: time.Now(), LoggerName: "http.log.access.log0", Message: "handled request"}
	for b.Loop() {
		e := encoder.Clone()
		request.AddTo(e)
		line, err := e.EncodeEntry(entry, fields)
		if err != nil {
			b.Fatal(err)
		}
		line.Free()
	}
}

// benchRequest is a request as a browser's or a library's, with ten headers.
func benchRequest(b *testing.B) *http.Request {
	b.Helper()
	const url = "http://api.example.com/orders?page=2&sort=asc"
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.RequestURI = r.URL.RequestURI()
	for name, value := range map[string]string{
		"Accept": "application/json", "Accept-Encoding": "gzip, br", "Accept-Language": "en",
		"Authorization": "Bearer key", "Content-Type": "application/json", "Origin": "https://app.example.com",
		"Referer": "https://app.example.com/orders", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)",
		"X-Forwarded-For": "203.0.113.9", "X-Request-Id": "4bf92f3577b34da6",
	} {
		r.Header[name] = []string{value}
	}
	return r
}
