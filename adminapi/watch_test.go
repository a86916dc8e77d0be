package adminapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const watchPath = eventsPath + ":watch"

// message is one server-sent event, with the id that a reader knows when it has read it.
type message struct{ id, event, data string }

// readStream reads server-sent events, as the HTML standard says: a block without data is no event, but its id counts.
func readStream(t *testing.T, text string) (all []message) {
	t.Helper()
	id := ""
	for block := range strings.SplitSeq(strings.TrimSuffix(text, "\n\n"), "\n\n") {
		m := message{}
		for line := range strings.SplitSeq(block, "\n") {
			name, value, ok := strings.Cut(line, ": ")
			switch {
			case !ok:
				t.Fatalf("not a line of a stream of events: %q", line)
			case name == "id":
				id = value
			case name == "event":
				m.event = value
			case name == "data":
				m.data = value
			case name != "":
				t.Fatalf("an unknown field: %q", line)
			}
		}
		if m.id = id; m.data != "" {
			all = append(all, m)
		}
	}
	return all
}

// ids are those of the events of a stream.
func ids(t *testing.T, text string) (all []string) {
	t.Helper()
	for _, m := range readStream(t, text) {
		all = append(all, m.id)
	}
	return all
}

// stream is a reader of events, in a bubble.
type stream struct {
	w      *pipe
	ended  chan struct{}
	cancel context.CancelFunc
}

// leave has the reader go away, and returns when the stream has ended.
func (s *stream) leave() {
	s.cancel()
	<-s.ended
}

// pipe is the writer of a stream.
type pipe struct {
	*httptest.ResponseRecorder

	mu   sync.Mutex
	slow chan struct{} // a write waits until it is closed; nil: none does
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	slow := p.slow
	p.mu.Unlock()
	if slow != nil {
		<-slow
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ResponseRecorder.Write(b)
}

// WriteString is for [io.WriteString].
func (p *pipe) WriteString(s string) (int, error) { return p.Write([]byte(s)) }

// holdBack makes the next write wait until the channel that it returns is closed.
func (p *pipe) holdBack() chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = make(chan struct{})
	return p.slow
}

// watch reads a stream until ctx ends.
func (n *node) watch(ctx context.Context, path string) *stream {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{&pipe{ResponseRecorder: httptest.NewRecorder()}, make(chan struct{}), cancel}
	go func() {
		defer close(s.ended)
		n.admin.ServeHTTP(s.w, apitest.Request(http.MethodGet, path, "").WithContext(ctx))
	}()
	synctest.Wait()
	return s
}

// take returns what was written since it was last called.
func (s *stream) take() string {
	synctest.Wait()
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	text := s.w.Body.String()
	s.w.Body.Reset()
	return text
}

func (s *stream) hasEnded() bool {
	synctest.Wait()
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

func TestAStreamHasEachEventAsItComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.changes(t, 2)
		s := n.watch(t.Context(), watchPath)
		if got := ids(t, s.take()); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("it begins with %q", got)
		}
		key := n.issue(t, "").IssuedAPIKey
		text := s.take()
		listed := n.events(t, "after", "2").Events[0]
		want := "id: 3\nevent: IssuedAPIKeyCreated\ndata: " + apitest.Marshal(t, listed) + "\n\n"
		if text != want {
			t.Errorf("got %q, want %q", text, want)
		}
		if e := apitest.Unmarshal[client.Event](t, []byte(readStream(t, text)[0].data)); e.KeyID != key.KeyID {
			t.Errorf("got %+v", e)
		}
		s.cancel()
		if !s.hasEnded() {
			t.Error("it does not end with its reader")
		}
	})
}

func TestAStreamIsSilentForTenSecondsAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.changes(t, 1)
		s := n.watch(t.Context(), watchPath)
		_ = s.take()
		for range 3 {
			time.Sleep(watchPause - time.Millisecond)
			if text := s.take(); text != "" {
				t.Errorf("too early: %q", text)
			}
			time.Sleep(time.Millisecond)
			if text := s.take(); text != ": no change\nid: 1\n\n" {
				t.Errorf("got %q", text)
			}
		}
		s.leave()
	})
}

func TestTheHeaderOfAStreamKeepsItFromBeingHeldBack(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	w := n.watchOnce(t, watchPath)
	if w.Code != http.StatusOK || !w.Flushed {
		t.Errorf("%d, flushed %v", w.Code, w.Flushed)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no",
		"X-Content-Type-Options": "nosniff", "Content-Length": "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if w.Body.String() != ": no change\nid: 0\n\n" {
		t.Errorf("a stream without events begins with %q", w.Body)
	}
}

func TestAStreamResumesAfterTheLastEventOfItsReader(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changes(t, 4)
	for _, tc := range []struct {
		path    string
		headers []string
		want    []string
	}{
		{watchPath, nil, []string{"1", "2", "3", "4"}},
		{watchPath + "?after=3", nil, []string{"4"}},
		{watchPath, []string{"Last-Event-ID", "2"}, []string{"3", "4"}},
		{watchPath + "?after=1", []string{"Last-Event-ID", "3"}, []string{"4"}}, // as a browser does
		{watchPath, []string{"Last-Event-ID", "4"}, nil},
	} {
		if got := ids(t, n.watchOnce(t, tc.path, tc.headers...).Body.String()); !slices.Equal(got, tc.want) {
			t.Errorf("%s %q: %q, want %q", tc.path, tc.headers, got, tc.want)
		}
	}
}

// A reader whose filter matches few events would otherwise resume far behind, and get a reset.
func TestAStreamTellsOfThePositionBehindWhatItsFilterKeepsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		key := n.issue(t, "").IssuedAPIKey.KeyID
		n.changes(t, 5)
		s := n.watch(t.Context(), watchPath+"?filter=key_id%3D%22"+key+"%22")
		n.changes(t, 1)
		if got := ids(t, s.take()); !slices.Equal(got, []string{"1"}) {
			t.Errorf("got %q", got)
		}
		time.Sleep(watchPause)
		if text := s.take(); text != ": no change\nid: 7\n\n" {
			t.Errorf("got %q", text)
		}
		apitest.Post(n.admin, issuedPath+"/"+key+":revoke", "")
		if got := readStream(t, s.take()); len(got) != 1 || got[0].id != "8" || got[0].event != "IssuedAPIKeyRevoked" {
			t.Errorf("got %+v", got)
		}
		s.leave()
	})
}

func TestAStreamTellsOfAReset(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changes(t, 3)
	if _, err := n.store.PruneEvents(t.Context(), time.Time{}, 2); err != nil {
		t.Fatal(err)
	}
	const reset = "event: reset\ndata: {\"feed_id\":\"feed-of-the-test\"}\n\n"
	for _, tc := range []struct {
		name    string
		headers []string
		want    []string // the ids that a reader knows with each event
	}{
		{"behind what is kept", nil, []string{"2", "3"}}, // a reader without a position has nothing to forget
		{"beyond the end", []string{"Last-Event-ID", "9"}, []string{""}},
		{"in another feed", []string{"Last-Event-ID", "3", client.FeedIDHeader, "x"}, []string{"", "2", "3"}},
	} {
		text := n.watchOnce(t, watchPath, tc.headers...).Body.String()
		if got := ids(t, text); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q in %q", tc.name, got, text)
		}
		// The reset itself has no id: a reader who resumes before the first event gets it again, and misses no event.
		if wantReset := len(tc.headers) > 0; strings.HasPrefix(text, reset) != wantReset {
			t.Errorf("%s: %q", tc.name, text)
		}
	}
	if text := n.watchOnce(t, watchPath, "Last-Event-ID", "9").Body.String(); !strings.HasSuffix(text, "\nid: 3\n\n") {
		t.Errorf("after a reset beyond the end, the stream does not say where to go on: %q", text)
	}
}

func TestAReaderThatHadCaughtUpAndFallsBehindIsClosed(t *testing.T) {
	t.Parallel()
	for behind, closed := range map[int]bool{maxBehind: false, maxBehind + 1: true} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t)
			s := n.watch(t.Context(), watchPath)
			_ = s.take()
			goOn := s.w.holdBack()
			n.changes(t, 1)
			synctest.Wait() // it is being written
			for range behind {
				n.store.Append(feed.Event{KeyID: "k", Kind: feed.EventUpdated})
			}
			close(goOn)
			if got := s.hasEnded(); got != closed {
				t.Errorf("%d behind: closed %v", behind, got)
			}
			got := ids(t, s.take())
			if want := map[bool]int{true: 1, false: 1 + behind}[closed]; len(got) != want {
				t.Errorf("%d behind: %d events", behind, len(got))
			}
			s.leave()
		})
	}
}

func TestAReaderThatCatchesUpIsNotClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		const all = 3*core.MaxEvents + 1
		for range all {
			n.store.Append(feed.Event{KeyID: "k", Kind: feed.EventUpdated})
		}
		s := n.watch(t.Context(), watchPath)
		if got := len(ids(t, s.take())); got != all || s.hasEnded() {
			t.Errorf("%d events, ended %v", got, s.hasEnded())
		}
		s.leave()
	})
}

func TestErrorsBeforeAStreamBeginsAreOrdinaryOnes(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, tc := range []struct {
		query   string
		headers []string
		want    string
	}{
		{"?wait=10s", nil, `"wait": there is no such parameter; there are after, filter`},
		{"?page_size=10", nil, `"page_size": there is no such parameter`},
		{"?after=x", nil, "after: must be a position such as 42"},
		{"?filter=x", nil, "filter: there is no such condition"},
		{"", []string{"Last-Event-ID", "x"}, "Last-Event-ID: must be a position such as 42"},
		{"", []string{"Last-Event-ID", "-1"}, "Last-Event-ID: must be a position such as 42"},
	} {
		w := n.watchOnce(t, watchPath+tc.query, tc.headers...)
		if e := apitest.WantError(t, w, http.StatusBadRequest, core.BadRequest); !strings.Contains(e.Message, tc.want) {
			t.Errorf("%s %q: %q", tc.query, tc.headers, e.Message)
		}
	}
}
