package command

import (
	"bufio"
	"net/http"
	"syscall"
	"testing"
)

// The server waits for its requests before it ends, and a reader of the feed may wait for ever.
func TestTheServerEndsWhileSomebodyWatchesTheFeed(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	s := serveBinary(t, env)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.endpoint+"/v2alpha1/admin/events:watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Errorf("it ends with %v\n%s", err, s.log())
	}
}
