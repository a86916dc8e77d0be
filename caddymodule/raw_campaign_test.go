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
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/httpcred/headername"
	"github.com/talos-edge/talos-edge/core/engine"
)

// Requests that two servers may read differently: a second request in the body of the first, lengths that contradict
// each other, names and lines that only some accept, and requests that end early. Whatever the proxy makes of one, the
// app gets nothing without a valid key, no identity but the key's own, and every other client its own answer.
func TestAttack26_Campaign_NoRawRequestIsReadAsAnother(t *testing.T) {
	c := newCampaign(t)
	app := &strictApp{t: t}
	server := httptest.NewServer(app)
	defer server.Close()
	e := startEdge(t, edgeConfig{
		Global: aliasing,
		Site: "talos_gate {\nfrom header Authorization Bearer\nfrom header X-Api-Key\n}\nreverse_proxy " +
			server.Listener.Addr().String(),
	})
	id, key := e.issue(engine.IssueRequest{})
	app.id, app.key = id, key
	_, unknown := e.issue(engine.IssueRequest{})
	unknown = unknown[:len(unknown)-4] + "aaaa"

	requests := rawRequests()
	random := c.random(1)
	all := len(requests)
	for len(requests) < c.size(all, 10_000) { // two ways to break a request at once, or one that ends early
		one, other := requests[random.IntN(all)], requests[random.IntN(all)]
		line, headers, _ := strings.Cut(one.text, "\r\n")
		_, otherHeaders, _ := strings.Cut(other.text, "\r\n")
		mixed := rawRequest{
			what: one.what + ", " + other.what, text: line + "\r\n" + otherHeaders, ends: one.ends || other.ends,
		}
		if random.IntN(4) == 0 {
			mixed.text, mixed.ends = one.text[:random.IntN(len(one.text))], true
		} else if at := strings.Index(headers, "\r\n\r\n"); at >= 0 {
			mixed.text = line + "\r\n" + headers[:at] + "\r\n" + otherHeaders
		}
		requests = append(requests, mixed)
	}
	victim, sent, victims := newAttacker(t, e.addr), 0, int64(0)
	for _, credential := range []string{unknown, key} { // first all that no key opens the way for
		for _, r := range requests {
			if err := sendRaw(t, e.addr, strings.ReplaceAll(r.text, "KEY", credential), r.ends); err != nil {
				t.Errorf("%s: %v", r.what, err)
			}
			if n := app.requests.Load() - victims; n > 0 && credential == unknown {
				t.Fatalf("%s: %d requests without a valid key reached the app", r.what, n)
			}
			target := fmt.Sprintf("/victim/%d", sent)
			status, body, err := victim.ask(getting(target, key))
			if err != nil || status != http.StatusOK || body != target {
				t.Fatalf("another client, after %s: %d %q %v", r.what, status, body, err)
			}
			sent++
			victims++
		}
	}
	own := app.requests.Load() - victims
	t.Logf("%d raw requests, %d of which the app got", sent, own)
	if sent < 212 || own == 0 {
		t.Error("too little was tried")
	}
	until(t, "the server has closed the connections of requests that it refused", func() bool {
		var profile strings.Builder
		return pprof.Lookup("goroutine").WriteTo(&profile, 1) == nil &&
			!strings.Contains(profile.String(), "closeWriteAndWait")
	})
}

// strictApp is an app that accepts requests with one identity only, and answers with their target.
type strictApp struct {
	t        *testing.T
	id, key  string
	requests atomic.Int64
}

func (a *strictApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.requests.Add(1)
	body, _ := io.ReadAll(r.Body)
	want := map[string]string{"X-Talos-Key-Id": a.id, "X-Talos-Actor": "someone"}
	for name, values := range r.Header {
		if headername.FoldedPrefix(name, "X-Talos-") && (len(values) != 1 || values[0] != want[name]) {
			a.t.Errorf("%s %s: the app got %s: %q", r.Method, r.RequestURI, name, values)
		}
		if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, a.key) }) {
			a.t.Errorf("%s %s: the app got the credential in %s", r.Method, r.RequestURI, name)
		}
	}
	for name := range want {
		if r.Header.Get(name) == "" {
			a.t.Errorf("%s %s: the app got no %s", r.Method, r.RequestURI, name)
		}
	}
	for name := range r.Trailer {
		if headername.FoldedPrefix(name, "X-Talos-") || name == "Authorization" || name == "X-Api-Key" {
			a.t.Errorf("%s %s: the app got a trailer %s", r.Method, r.RequestURI, name)
		}
	}
	if strings.Contains(r.RequestURI, "smuggled") {
		a.t.Errorf("%s %s: the app got a request that was hidden in another (body %q)", r.Method, r.RequestURI, body)
	}
	_, _ = io.WriteString(w, r.RequestURI)
}

// sendRaw sends bytes and reads to the end of what comes back. It closes its side of the connection at once when the
// request ends there, and otherwise after the first answer. That the server closes without an answer is no error.
func sendRaw(t *testing.T, addr, text string, ends bool) error {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, _ = io.WriteString(conn, text) // the server may refuse it before its end
	in := bufio.NewReader(conn)
	for !ends {
		res, err := http.ReadResponse(in, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			closeBody(res)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("there is no answer")
		}
		ends = err != nil || res.StatusCode > 199
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	if _, err := io.Copy(io.Discard, in); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the connection is left open")
	}
	return nil
}

// rawRequest is a request as it goes over the wire. KEY is a credential. ends says that the client closes after
// it without waiting for an answer, since the server may wait for more.
type rawRequest struct {
	what, text string
	ends       bool
}

const (
	authorized = "Authorization: Bearer KEY\r\n"
	smuggled   = "GET /smuggled HTTP/1.1\r\nHost: x\r\nX-Talos-Actor: root\r\nX-Talos-Key-Id: root\r\n" +
		"Connection: close\r\n\r\n"
)

// rawRequests are the requests of the normal run.
func rawRequests() (all []rawRequest) {
	add := func(what, text string) {
		all = append(all, rawRequest{what: fmt.Sprintf("%s: %.60q", what, text), text: text})
	}
	post := func(headers, body string) string {
		return "POST /x HTTP/1.1\r\nHost: x\r\n" + authorized + headers + "\r\n" + body
	}
	hidden := "0\r\n\r\n" + smuggled
	for _, encoding := range []string{
		"Transfer-Encoding: chunked", "Transfer-Encoding : chunked", "Transfer-Encoding:\tchunked",
		"transfer-encoding: CHUNKED",
		" Transfer-Encoding: chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked, identity",
		"Transfer-Encoding: identity", "Transfer-Encoding: identity, chunked", "Transfer-Encoding: gzip, chunked",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: x\r\nTransfer-Encoding: chunked", "Transfer-Encoding:\r\n chunked",
		"Transfer-Encoding: \"chunked\"",
		"Transfer_Encoding: chunked", "Transfer.Encoding: chunked", "Transfer-Encoding: chunked;x=1",
		"Transfer-Encoding: \x0bchunked", "X: x\nTransfer-Encoding: chunked", "X: x\rTransfer-Encoding: chunked",
		"Transfer-Encoding\x00: chunked", "Transfer-Encoding: chunked\x00", "Transfer-Encoding: ,chunked",
		"Transfer-Encoding: chunked,", "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", "X: x",
	} {
		for _, length := range []string{
			"", "Content-Length: 0\r\n", "Content-Length: 4\r\n", fmt.Sprintf("Content-Length: %d\r\n", len(hidden)),
		} {
			add("two framings", post(length+encoding+"\r\n", hidden))
			add("two framings", post(encoding+"\r\n"+length, hidden))
		}
	}
	for _, length := range []string{
		": +5", ": -5", ": 0x5", ": 5, 5", ": 5,6", ": 5\r\nContent-Length: 5", ": 5\r\nContent-Length: 0",
		": 5 ", ":  5",
		": 05",
		": 5;", ": 5.0", ": 99999999999999999999", ":", ": \r\n 5", " : 5", "\x00: 5", ": 5\x00", ": ５", ": 5 5",
		": 0\r\nContent_Length: 5",
		": 0\r\nContent.Length: 5", ": 5\r\nConnection: Content-Length",
	} {
		add("a length", post("Content-Length"+length+"\r\n", "hello"+smuggled))
		get := "GET" + strings.TrimPrefix(post("Content-Length"+length+"\r\n", "hello"+smuggled), "POST")
		add("a length with GET", get)
	}
	for _, body := range []string{
		"5\r\nhello\r\n0\r\n\r\n" + smuggled, "5;x=y\r\nhello\r\n0\r\n\r\n" + smuggled,
		"5 \r\nhello\r\n0\r\n\r\n" + smuggled,
		"0005\r\nhello\r\n0\r\n\r\n" + smuggled, "0x5\r\nhello\r\n0\r\n\r\n" + smuggled,
		"+5\r\nhello\r\n0\r\n\r\n" + smuggled,
		"-1\r\nhello\r\n0\r\n\r\n" + smuggled, "5\nhello\n0\n\n" + smuggled,
		"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n" + smuggled,
		"5\r\nhelloX\r\n0\r\n\r\n" + smuggled, "5\r\nhello0\r\n\r\n" + smuggled,
		"\r\n5\r\nhello\r\n0\r\n\r\n" + smuggled,
		"5;\nGET /smuggled HTTP/1.1\r\nhello\r\n0\r\n\r\n" + smuggled,
		"5;" + strings.Repeat("x", 20_000) + "\r\nhello\r\n0\r\n\r\n",
		"00\r\n\r\n" + smuggled, "0;x\r\n\r\n" + smuggled, "5\rhello\r0\r\r" + smuggled,
		"5_\r\nhello\r\n0\r\n\r\n" + smuggled,
		"0\r\nX-Talos-Actor: root\r\nX_Talos_Actor: root\r\n" +
			"Authorization: Bearer KEY\r\nX-Api-Key: KEY\r\n\r\n" + smuggled,
		"0\r\nContent-Length: 1000\r\nTransfer-Encoding: chunked\r\nHost: y\r\n\r\n" + smuggled,
		"0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
		"0\r\n X-Talos-Actor: root\r\n\r\n", "0\r\nX-Talos-Actor : root\r\n\r\n", "0\r\n: root\r\n\r\n",
		"0\r\n\n" + smuggled,
	} {
		add("chunks", post("Transfer-Encoding: chunked\r\nTrailer: X-Talos-Actor\r\n", body))
	}
	for _, line := range []string{
		"get / HTTP/1.1", "FOO / HTTP/1.1", " GET / HTTP/1.1", "GET  / HTTP/1.1", "GET\t/\tHTTP/1.1", "GET /",
		"GET / HTTP/1.0",
		"GET / HTTP/1.2", "GET / HTTP/2.0", "GET / HTTP/9.9", "GET / http/1.1", "GET / HTTP/1.1 x", "GET / HTTP/1,1",
		"/ HTTP/1.1",
		"GET http://other/x HTTP/1.1", "GET https://other:443/x HTTP/1.1", "GET http:///x HTTP/1.1",
		"GET http://a@b/x HTTP/1.1",
		"GET ftp://x/y HTTP/1.1", "GET x HTTP/1.1", "GET ?x HTTP/1.1", "GET * HTTP/1.1", "OPTIONS * HTTP/1.1",
		"GET // HTTP/1.1",
		"GET /a b HTTP/1.1", "GET /\x00 HTTP/1.1", "GET /\xff HTTP/1.1", "GET /%zz HTTP/1.1", "GET /#x HTTP/1.1",
		"GET /?a;b HTTP/1.1",
		"GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1", "TRACE / HTTP/1.1", "CONNECT localhost:80 HTTP/1.1",
		"CONNECT / HTTP/1.1",
		"G\x00T / HTTP/1.1", "\r\nGET / HTTP/1.1", "\r\n\r\n\r\nGET / HTTP/1.1",
		"PRI * HTTP/2.0", "GET / HTTP/1.1\rX: x",
		"GET /smug%6Ced/../x HTTP/1.1\nX-Talos-Actor: root", "", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	} {
		add("a request line", line+"\r\nHost: x\r\nConnection: close\r\n"+authorized+"\r\n")
	}
	for _, headers := range []string{
		authorized + authorized, authorized + "Authorization: Bearer bad\r\n",
		"Authorization: Bearer bad\r\n" + authorized,
		authorized + "Authorization:\r\n", authorized + "X-Api-Key: KEY\r\n", authorized + "X-Api-Key:\r\n",
		authorized + "X_Api_Key: KEY\r\n",
		"X_Api_Key: KEY\r\n", "X.Api.Key: KEY\r\n", "X-Api_Key: KEY\r\n",
		"X-Api-Key : KEY\r\n", "X-Api-Key: KEY,KEY\r\n",
		"Authorization:\r\n Bearer KEY\r\n", "Authorization: Bearer\r\n KEY\r\n", "Authorization: Bearer\r\n\tKEY\r\n",
		"Authorization : Bearer KEY\r\n", "Authorization\t: Bearer KEY\r\n", "Authorization\r\n: Bearer KEY\r\n",
		"Authorization Bearer KEY\r\n",
		"Auth\x00orization: Bearer KEY\r\n", "Authorization\x00: Bearer KEY\r\n", "Authorization_: Bearer KEY\r\n",
		"Authorization: Bearer KEY\x00\r\n",
		"Authorization: Bearer\tKEY\r\n", "Authorization:Bearer  KEY\r\n", "Authorization: Basic KEY\r\n",
		"Authorization: KEY\r\n",
		"Authorization: Bearer KEY, Bearer KEY\r\n", "Authorization: \"Bearer KEY\"\r\n",
		"Proxy-Authorization: Bearer KEY\r\n",
		"X: x\nAuthorization: Bearer KEY\r\n", "X: x\rAuthorization: Bearer KEY\r\n", ": x\r\n" + authorized,
		"\x80: x\r\n" + authorized,
		authorized + "Connection: Authorization, X-Api-Key, X-Talos-Actor\r\n",
		"Connection: Authorization\r\nConnection: X-Talos-Key-Id\r\n" + authorized,
		authorized + "X-Talos-Actor: root\r\nx-talos-actor: root\r\nX-TALOS-KEY-ID: root\r\n",
		authorized + "X_Talos_Actor: root\r\nx_talos_key_id: root\r\n",
		authorized + "X.Talos.Actor: root\r\n", authorized + "X-Talos_Actor: root\r\n",
		authorized + "X-Talos-Actor : root\r\n",
		authorized + "X-Talos-Actor\t: root\r\n", authorized + "X: x\r\n X-Talos-Actor: root\r\n",
		authorized + "X: x\nX-Talos-Actor: root\r\n",
		authorized + "X: x\rX-Talos-Actor: root\r\n", authorized + "X: x\x00X-Talos-Actor: root\r\n",
		authorized + "X-Talos-Actor:\r\n root\r\n",
		authorized + "X-Talos-Actor\x00: root\r\n", authorized + "X-Talos-Actor\xc2\xa0: root\r\n",
		authorized + "X-Talos-Scopes: *\r\nX-Talos-Role: root\r\n",
		authorized + "X-Talos-\r\n Actor: root\r\n", authorized + "Cookie: X-Talos-Actor=root\r\n",
		authorized + "X-HTTP-Method-Override: CONNECT\r\n",
		authorized + "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n" +
			"Connection: Upgrade, HTTP2-Settings\r\n",
		authorized + "Upgrade: websocket\r\nConnection: Upgrade, X-Talos-Actor\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
		authorized + "Expect: 100-continue\r\nContent-Length: 0\r\n", authorized + "Expect: nonsense\r\n",
		authorized + "Host: y\r\n",
		authorized + "Host:\r\n", authorized + "X-Original-URL: /smuggled\r\nX-Rewrite-URL: /smuggled\r\n",
		authorized + "Forwarded: for=x;host=y\r\n",
		authorized + "TE: trailers, chunked\r\nTrailer: Authorization, X-Talos-Actor, Content-Length\r\n",
		authorized + "Keep-Alive: timeout=0, max=0\r\n",
		authorized + strings.Repeat("X: x\r\n", 5000), authorized + "X: " + strings.Repeat("x", 2<<20) + "\r\n",
	} {
		add("headers", "GET /x HTTP/1.1\r\nHost: x\r\n"+headers+"Connection: close\r\n\r\n")
		add("headers, before the host", "GET /x HTTP/1.1\r\n"+headers+"Host: x\r\nConnection: close\r\n\r\n")
	}
	for _, host := range []string{
		"", "Host: a b\r\n", "Host: a/b\r\n", "Host: @\r\n", "Host: a:b:c\r\n", "Host: x\r\nHost: x\r\n",
		"Host: x\x00\r\n",
		"Host: [::1\r\n", "Host: x, y\r\n",
		"Host: x?y\r\n", "Host: \xff\r\n", "Host : x\r\n", " Host: x\r\n",
	} {
		add("a host", "GET /x HTTP/1.1\r\n"+host+authorized+"Connection: close\r\n\r\n")
	}
	whole := post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")
	for at := 1; at < len(whole); at += 4 {
		all = append(all, rawRequest{what: fmt.Sprintf("ends after %d bytes", at), text: whole[:at], ends: true})
	}
	return all
}
