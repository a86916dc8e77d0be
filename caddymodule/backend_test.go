package caddymodule_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// seen is a request as the app behind the gate got it.
type seen struct {
	Method  string
	URI     string
	Header  http.Header
	Trailer http.Header
	Body    string
}

// backend is an app that answers with what it was sent. Its answers carry the headers that a request asks for in
// Answer-Header ("Name: value").
type backend struct {
	server *httptest.Server

	mu    sync.Mutex
	count int
	last  seen
}

func newBackend(t testing.TB) *backend {
	t.Helper()
	b := &backend{}
	b.server = httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(b.server.Close)
	return b
}

func (b *backend) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s := seen{Method: r.Method, URI: r.RequestURI, Header: r.Header, Trailer: r.Trailer, Body: string(body)}
	b.mu.Lock()
	b.count++
	b.last = s
	b.mu.Unlock()
	for _, line := range r.Header["Answer-Header"] {
		if name, value, ok := strings.Cut(line, ": "); ok {
			w.Header().Add(name, value)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s)
}

func (b *backend) addr() string { return b.server.Listener.Addr().String() }

// requests is how many requests have come.
func (b *backend) requests() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count
}
