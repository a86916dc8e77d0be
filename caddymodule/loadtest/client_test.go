package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is a server that answers each connection's requests with the given texts, one a request, and then hangs up.
func scripted(t *testing.T, answers ...string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(conn)
			for _, a := range answers {
				if _, err := http.ReadRequest(in); err != nil {
					break
				}
				if _, err := io.WriteString(conn, a); err != nil {
					break
				}
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

func TestClientReadsStatusAndSkipsTheBody(t *testing.T) {
	t.Parallel()
	addr := scripted(t, "HTTP/1.1 200 OK\r\nX: y\r\ncontent-length: 5\r\n\r\nhello", "HTTP/1.1 401 Unauthorized\r\n"+
		"Content-Length: 0\r\nConnection: close\r\n\r\n")
	c := &client{addr: addr}
	t.Cleanup(c.close)
	for _, want := range []int{200, 401, 200} { // the third on a new connection: the second said close
		if got, err := c.do(requestFor(addr, "secret")); got != want || err != nil {
			t.Fatalf("do = %d, %v, want %d", got, err, want)
		}
	}
}

func TestClientRefusesAnswersItCannotRead(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"not HTTP":               "hello, this is no HTTP\r\n\r\n",
		"cut in the head":        "HTTP/1.1 200 OK\r\nContent-",
		"cut in the body":        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
		"no length":              "HTTP/1.1 200 OK\r\n\r\n",
		"chunked":                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"negative length":        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"length beyond all":      "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
		"line beyond the buffer": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 8192) + "\r\n\r\n",
		"hangs up":               "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := scripted(t, answer)
			c := &client{addr: addr}
			t.Cleanup(c.close)
			if status, err := c.do(requestFor(addr, "secret")); err == nil {
				t.Errorf("read as status %d", status)
			} else if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error %q holds the credential", err)
			}
			if c.conn != nil {
				t.Error("the connection is still open")
			}
		})
	}
}

// jobsOn runs the generator's role over jobs and gives its tallies.
func jobsOn(t *testing.T, jobs ...job) (tallies []tally) {
	t.Helper()
	var in, out bytes.Buffer
	for _, j := range jobs {
		if err := json.NewEncoder(&in).Encode(j); err != nil {
			t.Fatal(err)
		}
	}
	if err := generate(&in, &out); err != nil {
		t.Fatal(err)
	}
	for answers := json.NewDecoder(&out); answers.More(); {
		var did tally
		if err := answers.Decode(&did); err != nil {
			t.Fatal(err)
		}
		tallies = append(tallies, did)
	}
	return tallies
}

func TestGeneratorCountsWhatTheServerSawAndReportsEveryFailure(t *testing.T) {
	t.Parallel()
	var good, bad atomic.Uint64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			bad.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		good.Add(1)
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().String()
	const slot = 20 * time.Millisecond
	did := jobsOn(t,
		job{Op: opTarget, Target: "good", Addr: addr, Credentials: []string{"good"}},
		job{Op: opRun, Target: "good", Conns: 3, Slot: slot, Latency: true},
		job{Op: opTarget, Target: "mixed", Addr: addr, Credentials: []string{"good", "forged", "good", "none"}},
		job{Op: opEach, Target: "mixed", Conns: 2},
	)
	run, each := did[1], did[3]
	if run.Failures != 0 || run.Requests == 0 || run.Window > run.Requests || run.Took < slot {
		t.Errorf("run: %+v", run)
	}
	if run.P50 <= 0 || run.P99 < run.P50 {
		t.Errorf("run: p50 %s, p99 %s", run.P50, run.P99)
	}
	if each.Requests != 2 || each.Failures != 2 || each.First != "status 401" {
		t.Errorf("each: %+v instead of 2 good and 2 failures, the first of them status 401", each)
	}
	if g, b := good.Load(), bad.Load(); g != run.Requests+each.Requests || b != each.Failures {
		t.Errorf("the server saw %d good and %d bad, told were %d and %d",
			g, b, run.Requests+each.Requests, each.Failures)
	}
}

func TestGeneratorGivesUpOnADeadProxy(t *testing.T) {
	t.Parallel()
	addr := scripted(t) // accepts and hangs up
	did := jobsOn(t,
		job{Op: opTarget, Target: "dead", Addr: addr, Credentials: []string{"a"}},
		job{Op: opRun, Target: "dead", Conns: 2, Slot: 20 * time.Millisecond},
	)[1]
	if did.Requests != 0 || did.Failures == 0 || did.Failures > 2*(maxFailing+1) {
		t.Errorf("%+v, want nothing but at most %d failures", did, 2*(maxFailing+1))
	}
}

func TestAppAnswersGetAndHangsUpOnAnythingElse(t *testing.T) {
	t.Parallel()
	in, stop := io.Pipe()
	out, addrs := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serveApp(in, addrs) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimSpace(line)
	c := &client{addr: addr}
	t.Cleanup(c.close)
	for range 3 {
		if status, err := c.do(requestFor(addr, "any")); status != http.StatusOK || err != nil {
			t.Fatalf("GET: %d, %v", status, err)
		}
	}
	if status, err := c.do([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")); err == nil {
		t.Errorf("POST: %d", status)
	}
	if err := stop.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the app ended with %v", err)
	}
}
