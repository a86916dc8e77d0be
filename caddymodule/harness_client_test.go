package caddymodule_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// reason is what the error envelope says to programs.
func (a answer) reason() string {
	var envelope struct {
		Error struct {
			Code    int
			Details []struct{ Reason string }
		}
	}
	if json.Unmarshal([]byte(a.body), &envelope) != nil || len(envelope.Error.Details) != 1 ||
		envelope.Error.Code != a.status {
		return ""
	}
	return envelope.Error.Details[0].Reason
}

// seen is what the app was sent.
func (a answer) seen(t testing.TB) seen {
	t.Helper()
	var s seen
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatalf("%d: the answer is not the app's: %s", a.status, a.body)
	}
	return s
}

// get sends a request; header is a list of names and values.
func (e *edge) get(target string, header ...string) answer {
	e.t.Helper()
	return e.do(http.MethodGet, target, nil, header...)
}

func (e *edge) do(method, target string, body io.Reader, header ...string) answer {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), method, "http://"+e.addr+target, body)
	if err != nil {
		e.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header[header[i]] = append(req.Header[header[i]], header[i+1])
	}
	res, err := e.client.Do(req) //nolint:bodyclose // readAnswer closes it
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, target, err)
	}
	return readAnswer(e.t, res)
}

// raw sends the bytes of an HTTP/1.1 request over a connection of its own; \n is sent as CRLF.
func (e *edge) raw(text string) answer {
	e.t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(e.t.Context(), "tcp", e.addr)
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		e.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		e.t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	request := &http.Request{Method: method}
	res, err := http.ReadResponse(bufio.NewReader(conn), request) //nolint:bodyclose // readAnswer closes it
	if err != nil {
		e.t.Fatalf("reading the answer to %.80q: %v", text, err)
	}
	return readAnswer(e.t, res)
}

func readAnswer(t testing.TB, res *http.Response) answer {
	t.Helper()
	defer closeBody(res)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func closeBody(res *http.Response) { _ = res.Body.Close() }

// newClient is a client for a server that is reloaded: it survives the handover of the socket.
func newClient(t testing.TB) *http.Client {
	t.Helper()
	c := newPlainClient(t)
	c.Transport = handover{c.Transport}
	return c
}

// handover sends a request again whose connection came while a reload replaced the socket: Caddy opens the new one
// beside the old one, and what waits in the old one when it closes was never read.
type handover struct{ http.RoundTripper }

func (h handover) RoundTrip(r *http.Request) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		res, err := h.RoundTripper.RoundTrip(r)
		again := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
		if !again || attempt == 5 || r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
			return res, err
		}
		if r.GetBody != nil {
			r = r.Clone(r.Context())
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

func newPlainClient(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 128, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
