package caddymodule_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

// streamingApp sends an event at /sse and then nothing more until the request ends, and echoes what comes over a
// connection that is upgraded at /ws.
func streamingApp(t *testing.T) (addr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sse" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"+
			"Connection: Upgrade\r\n\r\n")
		_, _ = io.Copy(conn, buffer)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// opened is a stream as its client sees it.
type opened struct {
	name string
	r    io.Reader
	w    io.Writer // nil: an event stream
	end  func()
}

// line reads a line, and fails when a line does not come in time.
func (l *opened) line(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for one := make([]byte, 1); ; {
		if _, err := l.r.Read(one); err != nil {
			t.Fatalf("%s: %v after %q", l.name, err, b.String())
		}
		if one[0] == '\n' {
			return b.String()
		}
		b.WriteByte(one[0])
	}
}

// upgrade opens a WebSocket by hand.
func upgrade(t *testing.T, addr, key string) *opened {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
		"Authorization: Bearer %s\r\n\r\n", key)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrading: %v %v", res, err)
	}
	closeBody(res)
	return &opened{"WebSocket", r, conn, func() { _ = conn.Close() }}
}

// events opens an event stream.
func events(t *testing.T, client *http.Client, addr, key string) *opened {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/sse", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBody(res) })
	l := &opened{"events over " + res.Proto, res.Body, nil, cancel}
	if got := l.line(t); res.StatusCode != http.StatusOK || got != "data: 1" {
		t.Fatalf("%s: %d %q", l.name, res.StatusCode, got)
	}
	return l
}

func newH2Client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// ended waits for the end of a stream. One that does not end runs into its deadline.
func (l *opened) ended(t *testing.T) {
	t.Helper()
	_, err := io.Copy(io.Discard, l.r)
	if netErr, ok := errors.AsType[net.Error](err); errors.Is(err, context.DeadlineExceeded) || ok && netErr.Timeout() {
		t.Errorf("%s: still open", l.name)
	}
}

func TestAttack05_AStreamEndsWithItsKey(t *testing.T) {
	addr := streamingApp(t)
	e := startEdge(t, edgeConfig{
		Global: "servers {\nprotocols h1 h2c\n}",
		Site:   "talos_gate {\nrecheck 1s\n}\nreverse_proxy " + addr,
	})
	h2 := newH2Client(t)
	_, good := e.issue(engine.IssueRequest{})
	id, bad := e.issue(engine.IssueRequest{})
	open := func(key string) []*opened {
		return []*opened{upgrade(t, e.addr, key), events(t, e.client, e.addr, key), events(t, h2, e.addr, key)}
	}
	before := decisions(t, "refused", "revoked")
	living, ending := open(good), open(bad)
	e.revoke(id)
	for _, l := range ending {
		l.ended(t)
	}
	if n := decisions(t, "refused", "revoked") - before; n != 3 {
		t.Errorf("%d closed streams were counted, want 3", n)
	}
	// The streams of the good key are older, so they have been judged as well.
	ws := living[0]
	if _, err := io.WriteString(ws.w, "still here\n"); err != nil || ws.line(t) != "still here" {
		t.Errorf("the WebSocket of a good key: %v", err)
	}
	for _, l := range living {
		l.end()
	}
}

// A reload neither ends a stream nor lets it go on for longer: it is judged by the node that runs now.
func TestAttack05_AStreamIsJudgedByTheConfigurationThatRuns(t *testing.T) {
	app, site := streamingApp(t), freeport.Addr(t)
	s, client := newSolo(t), newClient(t)
	sites := onlyAdmin + "\nhttp://:" + portOf(site) +
		" {\nbind 127.0.0.1\ntalos_gate {\nrecheck 1s\n}\nreverse_proxy " + app + "\n}"
	s.mustLoad("talos {\nstorage sqlite://FOLDER/a.db\n}", sites)
	_, first := s.issue()
	moved := events(t, client, site, first)
	s.mustLoad("talos {\nstorage sqlite://FOLDER/b.db\n}", sites)
	moved.ended(t) // nobody knows the key in the other database

	id, second := s.issue()
	stays := events(t, client, site, second)
	// The reload waits for streams until grace_period is over.
	s.mustLoad("talos {\nstorage sqlite://FOLDER/b.db\ncache {\nttl 30s\n}\n}", sites)
	again := events(t, client, site, second)
	_, err := embedded(t).Keys(core.NetworkID{}).Revoke(t.Context(), core.Issued, id, engine.RevokeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	before := decisions(t, "refused", "revoked")
	stays.ended(t)
	again.ended(t)
	if n := decisions(t, "refused", "revoked") - before; n != 2 {
		t.Errorf("%d streams were closed for the revocation, want 2: the reload closed the other", n)
	}
}
