package deploy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
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

var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "talos-deploy-")
	if err != nil {
		panic(err)
	}
	buildDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// built is the command, built once for all tests, as the image has it: static.
var built = sync.OnceValues(func() (string, error) {
	name := filepath.Join(buildDir, "talos.exe")
	cmd := exec.Command("go", "build", "-trimpath", "-o", name, "../talos")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return name, nil
})

func binary(t *testing.T) string {
	t.Helper()
	name, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

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

// asRoot runs a script of testdata as root, with DIR as a variable of its own. Its last line says that it came to its
// end.
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

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeport.Addr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// ports has a free port in the place of each that a file names.
type ports map[string]string

func newPorts(t *testing.T, names ...string) ports {
	t.Helper()
	p := ports{}
	for _, name := range names {
		p[name] = freePort(t)
	}
	return p
}

func (p ports) in(text string) string {
	for from, to := range p {
		text = regexp.MustCompile(`:`+from+`\b`).ReplaceAllString(text, ":"+to)
	}
	return text
}

// talos runs the command with a home of its own and returns its standard output.
func talos(t *testing.T, dir string, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t), args...)
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

// process is a running program that is ended with the test.
type process struct {
	cmd    *exec.Cmd
	log    *lockedBuffer
	exited chan struct{} // closed when it has ended
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, dir string, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), log: &lockedBuffer{}, exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, append(homeIn(dir), env...), p.log, p.log
	p.cmd.WaitDelay = 10 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // how it ended shows in the log
	}()
	t.Cleanup(p.stop)
	return p
}

// stop ends the process, by force if it does not end by itself. It may be called more than once.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.exited:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// await tries until f returns nil, and fails the test after a minute or when the process has ended.
func (p *process) await(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.After(time.Minute)
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-p.exited:
			t.Fatalf("%s: the process has ended\n%s", what, p.log)
		case <-deadline:
			t.Fatalf("%s: %v\n%s", what, err, p.log)
		}
	}
}

// answers is for await: the URL answers with 200.
func answers(t *testing.T, url string) func() error {
	t.Helper()
	return func() error {
		status, body, err := get(t, http.DefaultClient, url, nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s: %d %s", url, status, body)
		}
		return err
	}
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
