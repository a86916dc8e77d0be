package deploy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/internal/talostest"
)

// The environment names the tools that a machine need not have. Without them the tests that use them are skipped.
const (
	envPromtool       = "TALOS_TEST_PROMTOOL"        // path of promtool
	envPrometheus     = "TALOS_TEST_PROMETHEUS"      // path of prometheus
	envSystemdAnalyze = "TALOS_TEST_SYSTEMD_ANALYZE" // path of systemd-analyze
	// 1: run the image and the units in namespaces of their own, as root or by sudo without a password.
	envNamespaces = "TALOS_TEST_NAMESPACES"
)

func needs(t *testing.T, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Skipf("%s is not set", variable)
	}
	return value
}

func TestMain(m *testing.M) { os.Exit(talostest.Main(m)) }

// read returns a file of this folder.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// asRoot runs a script of testdata as root, with DIR as a variable of its own. The last line of its output must say
// that all steps are done.
func asRoot(t *testing.T, script, dir string, variables ...string) {
	t.Helper()
	if needs(t, envNamespaces) != "1" {
		t.Fatalf("%s is neither empty nor 1", envNamespaces)
	}
	path, err := filepath.Abs(filepath.Join("testdata", script))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"env", "DIR=" + dir, "PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	if os.Geteuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	args = append(append(args, variables...), "bash", path)
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "\nall steps done\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// talos runs the command with a home of its own and returns its standard output.
func talos(t *testing.T, dir string, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), talostest.Binary(t), args...)
	cmd.Dir, cmd.Env = dir, append(homeIn(dir), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("talos %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), err
}

func homeIn(dir string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
}

func start(t *testing.T, dir string, env []string, name string, args ...string) *talostest.Process {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(homeIn(dir), env...)
	return talostest.Start(t, cmd, &talostest.Log{})
}

func get(t *testing.T, c *http.Client, url string, header http.Header) (status int, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func mustGet(t *testing.T, c *http.Client, url string, header http.Header) (status int, body string) {
	t.Helper()
	status, body, err := get(t, c, url, header)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

func bearer(secret string) http.Header { return http.Header{"Authorization": {"Bearer " + secret}} }

// clientTo connects to addr whatever host a URL names, and believes any certificate.
func clientTo(addr string) *http.Client {
	var dialer net.Dialer
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, addr)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
}
