package adminapi

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
)

func TestAStreamEndsWhenTheServerCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		closing, closed := context.WithCancel(t.Context())
		n.closing = closing
		s := n.watch(t.Context(), watchPath)
		n.changes(t, 1)
		closed()
		if !s.hasEnded() {
			t.Fatal("it has not ended")
		}
		if got := ids(t, s.take()); !slices.Equal(got, []string{"1"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestAStreamThatCannotBeReadOnEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		s := n.watch(t.Context(), watchPath)
		_ = s.take()
		n.store.SetDown(apitest.ErrDown())
		time.Sleep(watchPause)
		if !s.hasEnded() || s.take() != "" {
			t.Error("it goes on")
		}
	})
}

// A server must not write on where the body goes nowhere: the connection would serve no other request.
func TestTheHeadOfAStreamEnds(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	w := apitest.Serve(n.admin, apitest.Request(http.MethodHead, watchPath, ""))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/event-stream" || w.Body.Len() > 0 {
		t.Errorf("%d %v %q", w.Code, w.Header(), w.Body)
	}
}

func TestAConnectionServesOtherRequestsAfterAStream(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	closing, closed := context.WithCancel(t.Context())
	n.closing = closing
	server := httptest.NewServer(n.admin)
	defer server.Close()
	res, err := server.Client().Get(server.URL + watchPath)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != ": no change\n" {
		t.Fatalf("%q, %v", line, err)
	}
	n.changes(t, 1)
	if line, err := lines.ReadString('{'); err != nil || !strings.Contains(line, "event: IssuedAPIKeyCreated") {
		t.Errorf("%q, %v", line, err)
	}
	closed()
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Errorf("the stream does not end as one that is complete: %v", err)
	}
	_ = res.Body.Close()
	if res, err = server.Client().Get(server.URL + eventsPath); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", res, err)
	}
	_ = res.Body.Close()
}
