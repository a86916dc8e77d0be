package caddymodule_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// loadWithoutGrace loads a configuration that gives the requests of the one before it no time.
func (s *solo) loadWithoutGrace(talos, sites string) {
	s.t.Helper()
	text := strings.Replace(s.text(talos, sites), "grace_period 5s", "grace_period 1ms", 1)
	if err := caddy.Load(adapt(s.t, text), true); err != nil {
		s.t.Fatal(err)
	}
}

// TestAttack24_ARequestThatOutlivesItsConfigurationIsAnswered sends the body of a request after a reload to another
// database. Nobody could open the first one again: it has a newer schema by then.
func TestAttack24_ARequestThatOutlivesItsConfigurationIsAnswered(t *testing.T) {
	const sites = "http://:PORT {\nbind 127.0.0.1\nroute " + selfRevokePath + " {\ntalos_public\n}\ntalos_admin\n}"
	for _, path := range []string{verifyPath, selfRevokePath} {
		t.Run(path, func(t *testing.T) {
			s := newSolo(t)
			s.loadWithoutGrace(stormConfig(0), sites)
			_, secret := s.issue()
			finish := s.beginPost(path, `{"credential":"`+secret+`"}`)
			execute(t, filepath.Join(s.folder, "a.db"), newerSchema)
			s.loadWithoutGrace(stormConfig(2), sites)
			if got := finish(); got.status != http.StatusOK {
				t.Errorf("got %d %s", got.status, got.body)
			}
			s.open(2) // the first node closes after the answer
		})
	}
}

// beginPost sends a request without its body and returns when a handler waits for that. finish sends it, and returns
// the answer.
func (s *solo) beginPost(path, body string) (finish func() answer) {
	s.t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", path, len(body)); err != nil {
		s.t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	status := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	if _, err := io.ReadFull(reader, status); err != nil || !strings.Contains(string(status), "100 Continue") {
		s.t.Fatalf("got %q, %v", status, err)
	}
	return func() answer {
		if _, err := io.WriteString(conn, body); err != nil {
			s.t.Fatal(err)
		}
		res, err := http.ReadResponse(reader, nil) //nolint:bodyclose // readAnswer closes it
		if err != nil {
			s.t.Fatal(err)
		}
		return readAnswer(s.t, res)
	}
}

// TestAttack24_ALookUpThatOutlivesItsConfigurationIsAnswered reloads to other settings of the node while the upstream
// has not answered a look-up: a batch, and a call for the client's address.
func TestAttack24_ALookUpThatOutlivesItsConfigurationIsAnswered(t *testing.T) {
	api := &plainAPI{}
	far := newFarServer(t, api)
	header := `header Authorization "` + sidecarToken + `"`
	s := startSidecar(t, far.url(), header+"\ntimeout 30s", "")
	for i, path := range []string{batchPath, verifyPath} {
		cred := fmt.Sprint("key-", i)
		id := api.add(cred, "203.0.113.0/24")
		asked, proceed := make(chan struct{}), make(chan struct{})
		far.answers(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == path {
				close(asked)
				<-proceed
			}
			return false
		})
		answered := make(chan answer, 1)
		go func() { answered <- s.gatedFrom("203.0.113.9", cred) }()
		select {
		case <-asked:
		case got := <-answered:
			t.Fatalf("%s: answered before it was asked: %d %s", path, got.status, got.body)
		}
		far.answers(nil)
		s.reload(far.url(), header+fmt.Sprintf("\ntimeout %ds", 31+i), "")
		close(proceed)
		if got := <-answered; got.status != http.StatusOK || got.body != id {
			t.Errorf("%s: got %d %s", path, got.status, got.body)
		}
		if n := len(far.to(path)); n != 1 {
			t.Errorf("%s: the upstream was asked %d times", path, n)
		}
		far.to("")
		s.open(1) // the first node closes after the answer
	}
}

// TestARequestThatTheAppAnswersKeepsNoNodeOpen reloads while the app behind the gate takes its time, as for a stream.
func TestARequestThatTheAppAnswersKeepsNoNodeOpen(t *testing.T) {
	begun, proceed := make(chan struct{}), make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-proceed
		_, _ = io.WriteString(w, "done")
	}))
	t.Cleanup(app.Close)
	s := newSolo(t)
	sites := strings.Replace(onlyAdmin, `respond "{http.auth.user.id}"`,
		"reverse_proxy "+app.Listener.Addr().String(), 1)
	s.loadWithoutGrace(stormConfig(0), sites)
	_, secret := s.issue()
	answered := make(chan answer, 1)
	go func() { answered <- s.gated(secret) }()
	<-begun
	s.loadWithoutGrace(stormConfig(2), sites)
	if open := uses(); len(open) != 2 {
		t.Errorf("the node is kept open: %v", open)
	}
	close(proceed)
	if got := <-answered; got.status != http.StatusOK || got.body != "done" {
		t.Errorf("got %d %s", got.status, got.body)
	}
}
