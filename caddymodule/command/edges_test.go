package command

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

func TestWhatEdgesPrintsInEachFormat(t *testing.T) {
	t.Parallel()
	const edges = `{"edge_id":"edge-1","address":"192.0.2.1","version":"v1.2.3","position":"9","lag":"0",` +
		`"last_seen_time":"2026-01-02T03:04:05.678Z"},{"edge_id":"edge\u001b[2J","position":"7","lag":"2",` +
		`"last_seen_time":"2026-01-02T03:02:05Z","via":"edge-1","gone":true}`
	for name, edges := range map[string]string{"edges": edges, "none": ""} {
		for variant, flags := range map[string][]string{
			"table": nil, "quiet": {"-q"}, "json": {"-o", "json"}, "yaml": {"-o", "yaml"},
		} {
			endpoint, _ := stub(t, reply{http.StatusOK, `{"edges":[` + edges + `],"position":"9"}`})
			args := append([]string{"edges", "-e", endpoint}, flags...)
			stdout, stderr, err := runTree(t.Context(), "", args...)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("edges", name+"."+variant), "standard output:\n"+stdout+"standard error:\n"+stderr)
		}
	}
}

// confirming is a server that answers a change with who has confirmed it. Without numbers it does not know.
func confirming(t *testing.T, headers ...string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.Header().Set("Content-Type", "application/json")
		if r.FormValue("wait") != "5s" {
			t.Errorf("it is asked to wait for %q", r.FormValue("wait"))
		}
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestRevokeSaysWhichEdgesHaveConfirmedIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		headers []string
		exit    int
		want    string // what is printed
	}{
		"all": {
			[]string{client.ConfirmedHeader, "12", client.UnconfirmedHeader, "0"}, 0,
			"confirmed on 12 of 12 edges in ",
		},
		"none": {
			[]string{client.ConfirmedHeader, "0", client.UnconfirmedHeader, "0"}, 0, "no edge follows the changes",
		},
		"some": {
			[]string{
				client.ConfirmedHeader, "9", client.UnconfirmedHeader, "3",
				client.UnconfirmedEdgesHeader, "edge-1, edge-2",
			},
			exitUnconfirmed, "; not on edge-1 edge-2 and 1 more",
		},
		"a server that does not know": {nil, exitUnconfirmed, "does not say which edges"},
	} {
		endpoint := confirming(t, c.headers...)
		revoke := []string{"keys", "revoke", testKeyID, "--wait", "5s", "-e", endpoint}
		stdout, stderr, exit := runBinaryBoth(t, nil, revoke...)
		printed := stdout
		if exit != 0 {
			printed = stderr
		}
		if exit != c.exit || !strings.Contains(printed, c.want) ||
			!strings.HasPrefix(stdout, "revoked "+testKeyID+"\n") {
			t.Errorf("%s: exit status %d, %q, %q", name, exit, stdout, stderr)
		}
		stdout, stderr, _ = runBinaryBoth(t, nil, append(revoke, "-o", "json")...)
		if stdout != "{}\n" || !strings.Contains(stderr, c.want) {
			t.Errorf("%s, as JSON: %q, %q", name, stdout, stderr)
		}
	}
}

func TestAWaitForEdgesHasABound(t *testing.T) {
	t.Parallel()
	for _, wait := range []string{"31s", "0s", "-1s", "soon"} {
		_, _, err := runTree(t.Context(), "", "keys", "revoke", testKeyID, "--wait", wait, "-e", "http://localhost:1")
		if err == nil || !strings.Contains(err.Error(), "--wait: must be a duration of at most 30s") {
			t.Errorf("%s: %v", wait, err)
		}
	}
}

// The command, a node and an edge that follows its changes.
func TestRevokeWaitsForTheEdgesOfAServer(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	s := serveBinary(t, env)
	c, err := client.New(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	_, keyID := s.issue(t)
	_, err = c.EventsPage(t.Context(), client.EventsRequest{}, client.Header(client.EdgeIDHeader, "edge-1"))
	if err != nil {
		t.Fatal(err)
	}
	followed := make(chan error, 1)
	go func() { followed <- followTo(t, c, 2) }()
	if out, exit := s.talos(t, "keys", "revoke", keyID, "--wait", "30s"); exit != 0 ||
		!strings.Contains(out, "confirmed on 1 of 1 edges in ") {
		t.Errorf("exit status %d: %q", exit, out)
	}
	if err := <-followed; err != nil {
		t.Error(err)
	}
	if out, exit := s.talos(t, "edges", "-q"); exit != 0 || out != "edge-1\n" {
		t.Errorf("exit status %d: %q", exit, out)
	}
}

// followTo is an edge that acknowledges each change up to a position.
func followTo(t *testing.T, c *client.Client, last uint64) error {
	t.Helper()
	var r client.EventsRequest
	for r.After < last {
		page, err := c.EventsPage(t.Context(), r, client.Header(client.EdgeIDHeader, "edge-1"))
		if err != nil {
			return fmt.Errorf("after %d: %w", r.After, err)
		}
		r = client.EventsRequest{After: uint64(page.Position), FeedID: page.FeedID, Wait: 20 * time.Second}
	}
	r.Wait = 0
	_, err := c.EventsPage(t.Context(), r, client.Header(client.EdgeIDHeader, "edge-1"))
	return err
}
