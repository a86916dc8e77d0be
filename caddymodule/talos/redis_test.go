package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/caddymodule/internal/talostest"
	"github.com/talos-edge/talos-edge/storage/redis/redistest"
)

// countingNode is a process with keys of its own, which counts their uses in a Redis.
type countingNode struct {
	*talostest.Process
	gate, admin string // their addresses
}

func startCountingNode(t *testing.T, redis string) *countingNode {
	t.Helper()
	dir, n := t.TempDir(), &countingNode{gate: freeport.Addr(t), admin: freeport.Addr(t)}
	config := filepath.Join(dir, "Caddyfile")
	_, gatePort, _ := strings.Cut(n.gate, ":")
	_, adminPort, _ := strings.Cut(n.admin, ":")
	text := fmt.Sprintf(`{
	admin off
	auto_https off
	persist_config off
	talos {
		rate_limit {env.COUNTS}
	}
}
http://:%s {
	bind 127.0.0.1
	talos_gate
	respond "admitted"
}
http://:%s {
	bind 127.0.0.1
	talos_admin
}
`, gatePort, adminPort)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(talostest.Binary(t), "run", "--config", config)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "COUNTS="+redis)
	n.Process = talostest.Start(t, cmd, &talostest.Log{})
	n.AwaitOK(t, "http://"+n.admin+"/health/ready")
	return n
}

// request makes a request and returns the status of its answer.
func (n *countingNode) request(t *testing.T, method, url, body string, header http.Header) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// importKey imports a key that may be used 20 times a day.
func (n *countingNode) importKey(t *testing.T, key string) {
	t.Helper()
	status := n.request(t, http.MethodPost, n.admin+"/v2alpha1/admin/importedApiKeys",
		`{"raw_key":"`+key+`","name":"n","actor_id":"a","rate_limit_policy":{"quota":"20","window":"86400s"}}`,
		http.Header{"Content-Type": {"application/json"}})
	if status/100 != 2 {
		t.Fatalf("importing a key: %d\n%s", status, n.Log)
	}
}

// use makes a gated request with a key.
func (n *countingNode) use(t *testing.T, key string) int {
	t.Helper()
	return n.request(t, http.MethodGet, n.gate+"/", "", http.Header{"Authorization": {"Bearer " + key}})
}

func (n *countingNode) awaitLog(t *testing.T, line string) {
	t.Helper()
	n.Await(t, "the log says "+line, func() error {
		if !strings.Contains(n.Log.String(), line) {
			return fmt.Errorf("%q is not there", line)
		}
		return nil
	})
}

// Two nodes that have the same key give it its limit once, and while Redis is away once each. They start without Redis.
func TestTwoNodesShareAKeysLimitThroughRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill(t)
	url := "redis://" + s.Addr() + "?timeout=10s"
	nodes := []*countingNode{startCountingNode(t, url), startCountingNode(t, url)}
	const before, shared = "a-key-that-is-used-while-redis-is-away", "a-key-that-is-used-when-redis-is-there"
	for _, n := range nodes {
		n.importKey(t, before)
		n.importKey(t, shared)
		for i := range 21 {
			if got, want := n.use(t, before), http.StatusOK; i < 20 && got != want {
				t.Errorf("without Redis, use %d is %d", i+1, got)
			} else if want = http.StatusTooManyRequests; i == 20 && got != want {
				t.Errorf("without Redis, use %d is %d", i+1, got)
			}
		}
		n.awaitLog(t, "each node counts for itself")
	}
	s.Restart(t)
	for _, n := range nodes {
		n.awaitLog(t, "the uses of keys are counted in Redis again")
	}
	for i := range 30 {
		want := http.StatusOK
		if i >= 20 {
			want = http.StatusTooManyRequests
		}
		if got := nodes[i%2].use(t, shared); got != want {
			t.Errorf("use %d is %d, want %d", i+1, got, want)
		}
	}
}
