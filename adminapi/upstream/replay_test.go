package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wireHost speaks HTTP on bare connections. It answers what reads, and notes what changes and ends that in its own way.
type wireHost struct {
	url   string
	roots *x509.CertPool // that vouch for it
	fault func(conn net.Conn, framer *http2.Framer, stream uint32)

	conns    sync.WaitGroup
	accepted chan string // the client's addresses
	close    func()      // accepts no more connections
	hangUp   func()      // on all clients

	mu      sync.Mutex
	changes []http.Header
}

func newWireHost(t *testing.T, overTLS bool) *wireHost {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &wireHost{url: "http://" + l.Addr().String(), accepted: make(chan string, 100)}
	serveConn := h.serve1
	if overTLS {
		lender := httptest.NewTLSServer(nil) // of a certificate
		h.roots = x509.NewCertPool()
		h.roots.AddCert(lender.Certificate())
		lender.Close()
		l = tls.NewListener(l, &tls.Config{
			Certificates: lender.TLS.Certificates, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
		})
		h.url, serveConn = "https://"+l.Addr().String(), h.serve2
	}
	var accepting sync.WaitGroup
	ctx, hangUp := context.WithCancel(context.Background())
	h.hangUp, h.close = hangUp, func() {
		_ = l.Close()
		accepting.Wait()
	}
	accepting.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h.accepted <- conn.RemoteAddr().String()
			h.conns.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				defer func() { _ = conn.Close() }()
				serveConn(conn)
			})
		}
	})
	t.Cleanup(func() {
		h.close()
		hangUp()
		h.conns.Wait()
	})
	return h
}

// received are the changes that came. Over HTTP/1 the client has closed its connections, and what it sent before that
// is among them; over HTTP/2 it sends nothing again before it has heard what became of the last time.
func (h *wireHost) received(t *testing.T) []http.Header {
	t.Helper()
	var d net.Dialer
	last, err := d.DialContext(t.Context(), "tcp", h.url[strings.LastIndexByte(h.url, '/')+1:])
	if err != nil {
		t.Fatal(err)
	}
	for accepted := ""; accepted != last.LocalAddr().String(); { // they are accepted in their order
		accepted = <-h.accepted
	}
	_ = last.Close()
	h.close()
	if h.roots != nil {
		h.hangUp()
	}
	h.conns.Wait()
	return h.changes
}

// note writes a change down, and reports whether a request is one.
func (h *wireHost) note(method string, header http.Header) bool {
	if method == http.MethodGet {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changes = append(h.changes, header)
	return true
}

func (h *wireHost) serve1(conn net.Conn) {
	for b := bufio.NewReader(conn); ; {
		r, err := http.ReadRequest(b)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if h.note(r.Method, r.Header) {
			return // without an answer
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	}
}

func (h *wireHost) serve2(conn net.Conn) {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = framer.WriteSettings()
	open := make(map[uint32]*http2.MetaHeadersFrame)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		ended := false
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			_ = framer.WritePing(true, f.Data)
		case *http2.MetaHeadersFrame:
			open[f.StreamID], ended = f, f.StreamEnded()
		case *http2.DataFrame:
			ended = f.StreamEnded()
		}
		if id := frame.Header().StreamID; ended {
			header := make(http.Header)
			for _, field := range open[id].RegularFields() {
				header.Add(field.Name, field.Value)
			}
			if h.note(open[id].PseudoValue("method"), header) {
				h.fault(conn, framer, id)
				continue
			}
			var block bytes.Buffer
			_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "204"})
			_ = framer.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true,
			})
		}
	}
}

// A caller's Idempotency-Key speaks to the upstream. It must not make this node send a change twice: an upstream that
// does not know the header would issue two keys.
func TestAChangeIsSentOnceWhateverItsHeadersSay(t *testing.T) {
	t.Parallel()
	const (
		change = "/v2alpha1/admin/issuedApiKeys"
		key    = change + "/4be0643f-1d98-473b-97cd-ca98a65347dd"
		rotate = key + ":rotate"
	)
	hangUp := func(c net.Conn, _ *http2.Framer, _ uint32) { _ = c.Close() }
	goAway := func(_ net.Conn, f *http2.Framer, _ uint32) { _ = f.WriteGoAway(0, http2.ErrCodeNo, nil) }
	reset := func(code http2.ErrCode) func(net.Conn, *http2.Framer, uint32) {
		return func(_ net.Conn, f *http2.Framer, id uint32) { _ = f.WriteRSTStream(id, code) }
	}
	for name, tc := range map[string]struct {
		overTLS            bool
		method, path, body string
		fault              func(net.Conn, *http2.Framer, uint32)
	}{
		"HTTP/1.1":            {false, "POST", change, `{"name":"n","actor_id":"a"}`, nil},
		"HTTP/1.1, no body":   {false, "POST", rotate, "", nil},
		"HTTP/1.1, an update": {false, "PATCH", key, `{"name":"n"}`, nil},
		"HTTP/1.1, a deletion": {
			false,
			"DELETE",
			"/v2alpha1/admin/importedApiKeys/" + strings.Repeat("0a", 32),
			"",
			nil,
		},
		"HTTP/2, the connection ends":               {true, "POST", change, `{}`, hangUp},
		"HTTP/2, the connection ends, no body":      {true, "POST", rotate, "", hangUp},
		"HTTP/2, an error of the protocol":          {true, "POST", change, `{}`, reset(http2.ErrCodeProtocol)},
		"HTTP/2, an error of the protocol, no body": {true, "POST", rotate, "", reset(http2.ErrCodeProtocol)},
		"HTTP/2, the stream is refused":             {true, "POST", change, `{}`, reset(http2.ErrCodeRefusedStream)},
		"HTTP/2, the stream is refused, no body":    {true, "POST", rotate, "", reset(http2.ErrCodeRefusedStream)},
		"HTTP/2, the server goes away":              {true, "POST", change, `{}`, goAway},
		"HTTP/2, the server goes away, no body":     {true, "POST", rotate, "", goAway},
	} {
		for _, header := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			t.Run(name+", "+header, func(t *testing.T) {
				t.Parallel()
				h := newWireHost(t, tc.overTLS)
				h.fault = tc.fault
				config := Config{Addresses: []string{h.url}}
				if h.roots != nil {
					config.TLS = &tls.Config{RootCAs: h.roots, MinVersion: tls.VersionTLS12}
				}
				u, sidecar := sidecarOf(t, config)
				ask := func(method, path, body string) int {
					r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
					r.Header.Set(header, "one of the caller's")
					r.Header.Set("Content-Type", "application/json")
					w := httptest.NewRecorder()
					sidecar.ServeHTTP(w, r)
					return w.Code
				}
				if status := ask(http.MethodGet, change, ""); status/100 != 2 { // leaves a connection behind
					t.Fatal("the upstream answers " + strconv.Itoa(status))
				}
				if status := ask(tc.method, tc.path, tc.body); status != http.StatusServiceUnavailable {
					t.Errorf("the caller is told %d", status)
				}
				u.Close()
				changes := h.received(t)
				if len(changes) != 1 || changes[0].Get(header) != "one of the caller's" {
					t.Errorf("%d changes came, with %v", len(changes), changes[:min(1, len(changes))])
				}
			})
		}
	}
}
