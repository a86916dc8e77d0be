package sidecar

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

const (
	eventsPath = adminapi.AdminRoot + "events"
	watchPath  = eventsPath + ":watch"
)

func TestTheEventsThatASidecarListsAreItsUpstreams(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	s.issue(t, "")
	made := apitest.Post(s.admin, issuedPath, `{"name":"n","actor_id":"through the sidecar"}`)
	if made.Code != http.StatusOK {
		t.Fatalf("%d %s", made.Code, made.Body)
	}
	r := apitest.Request(http.MethodGet, eventsPath+"?after=1&filter=type%3D%22IssuedAPIKeyCreated%22", "")
	w := apitest.Serve(s.admin, r)
	page := apitest.Unmarshal[client.EventsResponse](t, w.Body.Bytes())
	if w.Code != http.StatusOK || len(page.Events) != 1 || page.Events[0].ActorID != "through the sidecar" {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	r = apitest.Request(http.MethodGet, eventsPath+"?after=2", "")
	r.Header.Set(client.FeedIDHeader, "another")
	if w := apitest.Serve(s.admin, r); !strings.Contains(w.Body.String(), `"reset":true`) {
		t.Errorf("%s does not pass: %s", client.FeedIDHeader, w.Body)
	}
	w = apitest.Get(s.admin, eventsPath+"?limit=1")
	if e := apitest.WantError(t, w, http.StatusBadRequest, core.BadRequest); !strings.Contains(e.Message, "limit") {
		t.Errorf("the upstream's refusal reads %q", e.Message)
	}
}

// lateUpstream is the transport of a sidecar in a bubble. Its answers take their time.
type lateUpstream struct {
	*upstreamNode
	takes time.Duration
}

func (u *lateUpstream) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(u.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: 2,
		Body: io.NopCloser(strings.NewReader("{}")), Request: r,
	}, nil
}

func TestACallThatWaitsHasMoreTimeThanOthers(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{
		eventsPath + "?wait=30s": http.StatusOK, watchPath: http.StatusOK, issuedPath: http.StatusGatewayTimeout,
	} {
		synctest.Test(t, func(t *testing.T) {
			network := func(*http.Request) (adminapi.Network, error) { return adminapi.Network{}, nil }
			h := Admin(Options{
				Options:  adminapi.Options{Network: network},
				Upstream: &lateUpstream{&upstreamNode{}, passTimeout + time.Second},
			})
			if w := apitest.Get(h, path); w.Code != want {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		})
	}
}

// closable serves a sidecar over HTTP. close is as if the server began to close.
func closable(t *testing.T, s *sidecarNode) (url string, c *http.Client, closeServer func()) {
	t.Helper()
	closing, closeServer := context.WithCancel(t.Context())
	network := adminapi.Network{Verifier: s.verifier}
	o := adminapi.Options{
		Network:     func(*http.Request) (adminapi.Network, error) { return network, nil },
		Logger:      apitest.DebugLogger(s.logs),
		WhenClosing: func(f func()) (stop func() bool) { return context.AfterFunc(closing, f) },
	}
	server := httptest.NewServer(Admin(Options{Options: o, Upstream: s.upstreamNode}))
	t.Cleanup(server.Close)
	return server.URL, server.Client(), closeServer
}

func TestASidecarDoesNotHoldBackAStream(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	url, c, closeServer := closable(t, s)
	res, err := c.Get(url + watchPath)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != ": no change\n" {
		t.Fatalf("it begins with %q, %v", line, err)
	}
	for range 3 { // each event arrives before the next one is made
		id := s.issue(t, "").IssuedAPIKey.KeyID
		for line := ""; !strings.HasPrefix(line, "data: "); {
			if line, err = lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(line, "data: ") && !strings.Contains(line, id) {
				t.Errorf("got %q", line)
			}
		}
	}
	closeServer()
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Errorf("when the sidecar closes, the stream does not end as one that is complete: %v", err)
	}
}

func TestAWaitThroughASidecarEndsWhenTheSidecarCloses(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	url, c, closeServer := closable(t, s)
	s.answers(func(_ http.ResponseWriter, r *http.Request) {
		closeServer()
		<-r.Context().Done()
	})
	res, err := c.Get(url + eventsPath + "?wait=30s")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if text := s.logs.String(); strings.Contains(text, `"error"`) {
		t.Errorf("nothing has failed, and the log has %s", text)
	}
}

// deadlines is a writer that notes for when the deadline of a write was set.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// A reader that reads nothing must not keep a server from closing.
func TestWhoReadsNothingOfAStreamIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	s.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, ": no change\n\n")
	})
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	began := time.Now()
	s.admin.ServeHTTP(w, apitest.Request(http.MethodGet, watchPath, ""))
	if w.Code != http.StatusOK || !w.Flushed || w.Body.String() != ": no change\n\n" {
		t.Errorf("%d, flushed %v: %q", w.Code, w.Flushed, w.Body)
	}
	if len(w.set) == 0 || w.set[0].Before(began.Add(maxWrite)) || w.set[0].After(time.Now().Add(maxWrite)) {
		t.Errorf("deadlines %v", w.set)
	}
}
