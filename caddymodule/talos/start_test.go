package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
)

// command runs the binary in an environment like that of a node, but with a data directory of its own.
func (n *node) command(
	t *testing.T, env []string, args ...string,
) (output string, left []os.DirEntry, err error) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(n.dir, "talos"), args...)
	cmd.Dir = dir
	own := []string{
		"HOME=" + dir, "XDG_DATA_HOME=" + filepath.Join(dir, "data"), "XDG_CONFIG_HOME=" + filepath.Join(dir, "config"),
	}
	cmd.Env = slices.Concat(n.env, own, env)
	out, err := cmd.CombinedOutput()
	left, readErr := os.ReadDir(dir)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(out), left, err
}

// Caddy's listeners share their ports: a second process would answer some of the requests, from its own database.
func TestASecondProcessOnTheSamePortsIsRefusedAndTheFirstReloads(t *testing.T) {
	t.Parallel()
	n := startExample(t)
	config := filepath.Join(n.dir, "Caddyfile.example")
	written, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text := string(written)
	// It is enough that one port is taken: of a site with a handler of ours, of another site, or of Caddy's admin.
	for _, keep := range []string{"8080 4420 9000 2019", "8080", "4420", "9000", "2019"} {
		other := text
		env := []string{}
		for port, taken := range n.ports {
			if !strings.Contains(keep, port) {
				free := freeport.Port(t)
				other = strings.ReplaceAll(other, taken, free)
				if port == "2019" {
					env = append(env, "CADDY_ADMIN=localhost:"+free)
				}
			}
		}
		file := filepath.Join(t.TempDir(), "Caddyfile")
		if err := os.WriteFile(file, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		out, left, err := n.command(t, env, "run", "--config", file)
		named := false
		for port, taken := range n.ports {
			named = named || strings.Contains(keep, port) && strings.Contains(out, ":"+taken+" is in use by process ")
		}
		if err == nil || !named || !strings.Contains(out, "TALOS_SHARE_PORTS=1") {
			t.Errorf("with the ports %s taken: %v\n%s", keep, err, out)
		}
		if len(left) > 0 {
			t.Errorf("with the ports %s taken: it left %v", keep, left)
		}
		if out, _, err := n.command(t, env, "validate", "--config", file); err != nil {
			t.Errorf("validate: %v\n%s", err, out)
		}
	}
	if out, _, err := n.command(t, nil, "reload", "--force", "--config", config); err != nil {
		t.Errorf("reload: %v\n%s", err, out)
	}
	// Another address of the same port, of which the process has a part already.
	wider := strings.ReplaceAll(text, "\tbind 127.0.0.1\n", "")
	if err := os.WriteFile(config, []byte(wider), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, err := n.command(t, nil, "reload", "--config", config); err != nil {
		t.Errorf("reload: %v\n%s", err, out)
	}
	resp, err := http.Get("http://127.0.0.1:" + n.ports["9000"])
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// Nothing in the log of the example's start asks for an attention that nobody can give it.
func TestTheExampleStartsWithoutAWarning(t *testing.T) {
	t.Parallel()
	n := startExample(t)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !strings.Contains(n.log.String(), `"serving initial configuration"`) {
		select {
		case <-ticker.C:
		case <-t.Context().Done():
			t.Fatalf("it does not say that it serves:\n%s", n.log)
		}
	}
	ready := 0
	for line := range strings.Lines(n.log.String()) {
		var entry struct {
			Level, Msg, Mode, Database string
			Serving                    []string
			Prefix                     string   `json:"key_prefix"`
			Reachable                  []string `json:"reachable_from_other_machines"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level != "info" {
			t.Errorf("%v: %s", err, line)
		}
		if entry.Msg != "ready" {
			continue
		}
		ready++
		if entry.Mode != "embedded" || entry.Database != filepath.Join(n.dir, "data", "caddy", "talos.db") ||
			entry.Prefix != "ory_ak" || len(entry.Serving) != 4 || entry.Reachable != nil {
			t.Errorf("the line says %s", line)
		}
	}
	if ready != 1 {
		t.Errorf("%d lines say that it is ready:\n%s", ready, n.log)
	}
}

// A process that is stopped waits for its requests, and a reader of the feed may wait for ever.
func TestAStoppedProcessEndsThoseWhoWatchTheFeed(t *testing.T) {
	t.Parallel()
	n := startExample(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	url := n.ports.In("http://127.0.0.1:4420/v2alpha1/admin/events:watch")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	stream := bufio.NewReader(resp.Body)
	if line, err := stream.ReadString('\n'); err != nil || !strings.HasPrefix(line, ":") {
		t.Fatalf("the stream begins with %q, %v", line, err)
	}
	if out, _, err := n.command(t, nil, "stop"); err != nil {
		t.Errorf("stop: %v\n%s", err, out)
	}
	if _, err := io.Copy(io.Discard, stream); err != nil {
		t.Errorf("the stream does not end: %v\n%s", err, n.log)
	}
}
