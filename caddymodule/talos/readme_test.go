package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/internal/talostest"
)

func TestMain(m *testing.M) { os.Exit(talostest.Main(m)) }

// block is a fenced block of a page.
type block struct {
	kind string
	text string
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

func blocksOf(page string) []block {
	var blocks []block
	for _, m := range fence.FindAllStringSubmatch(page, -1) {
		blocks = append(blocks, block{m[1], m[2]})
	}
	return blocks
}

// node is a running binary with the example configuration on ports of its own.
type node struct {
	dir   string // its home, where scripts run; the binary is in it as talos
	env   []string
	ports talostest.Ports
	log   *talostest.Log
}

// newNode makes a home with the binary, and a free port for each port that a page names. Nothing runs in it yet.
func newNode(t *testing.T, ports ...string) *node {
	t.Helper()
	n := &node{dir: t.TempDir(), ports: talostest.NewPorts(t, append(ports, "2019")...), log: &talostest.Log{}}
	if err := os.Symlink(talostest.Binary(t), filepath.Join(n.dir, "talos")); err != nil {
		t.Fatal(err)
	}
	n.env = append(os.Environ(), "PATH="+n.dir+string(os.PathListSeparator)+os.Getenv("PATH"),
		"HOME="+n.dir, "XDG_DATA_HOME="+filepath.Join(n.dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(n.dir, "config"),
		"CADDY_ADMIN=localhost:"+n.ports["2019"], "TALOS_URL=http://localhost:"+n.ports["4420"])
	return n
}

// start runs the binary until the test ends.
func (n *node) start(t *testing.T, env []string, args ...string) *talostest.Process {
	t.Helper()
	cmd := exec.Command(filepath.Join(n.dir, "talos"), args...)
	cmd.Dir, cmd.Env = n.dir, append(slices.Clip(n.env), env...)
	return talostest.Start(t, cmd, n.log)
}

// write puts a file into the node's home, with the node's ports.
func (n *node) write(t *testing.T, name, text string) {
	t.Helper()
	name = filepath.Join(n.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(n.ports.In(text)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startExample runs Caddyfile.example as the README says and waits until its three sites answer.
func startExample(t *testing.T) *node {
	t.Helper()
	n := newNode(t, "8080", "4420", "9000")
	n.write(t, "Caddyfile.example", readFile(t, "Caddyfile.example"))
	p := n.start(t, nil, "run", "--config", "Caddyfile.example")
	for _, url := range []string{
		"http://127.0.0.1:9000/", "http://127.0.0.1:8080/health/ready", "http://127.0.0.1:4420/health/ready",
	} {
		p.AwaitOK(t, n.ports.In(url))
	}
	return n
}

const separator = "@@ block "

// needs skips a test on a machine that lacks a tool that the pages use. Where everything is checked, none may be
// skipped.
func needs(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the page uses %s, which this machine does not have", tool)
		}
	}
}

// run runs a page's blocks in one shell, as somebody would who copies them, and holds each block's output to the text
// block that follows it, in which … matches anything.
func (n *node) run(t *testing.T, blocks []block) {
	t.Helper()
	var script strings.Builder
	script.WriteString("set -euo pipefail\n")
	want := map[int]string{}
	last := -1
	for i, b := range blocks {
		switch {
		case b.kind == "text" && last >= 0:
			want[last] = b.text
		case b.kind == "sh":
			fmt.Fprintf(&script, "echo '%s%d'\n%s\necho\n", separator, i, n.ports.In(b.text))
			last = i
		default:
			last = -1
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	cmd.Dir, cmd.Env = n.dir, n.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s\nlog:\n%s", err, out, stderr.String(), n.log)
	}
	got := map[string]string{}
	for _, part := range strings.Split(string(out), separator)[1:] {
		number, text, _ := strings.Cut(part, "\n")
		got[number] = text
	}
	for i, text := range want {
		pattern := `(?s)^\s*` + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(text)), "…", ".*") + `\s*$`
		actual := strings.ReplaceAll(got[strconv.Itoa(i)], "\r", "")
		if !regexp.MustCompile(pattern).MatchString(actual) {
			t.Errorf("the block\n%s\nprints\n%s\nand the page says\n%s", blocks[i].text, actual, text)
		}
	}
}

// Each shell block of the README runs against the real binary and prints what the README says. The server's own block
// and this test run's are known by their text; the build with xcaddy has a test of its own.
func TestREADME_EachShellBlockRuns(t *testing.T) {
	t.Parallel()
	needs(t, "bash", "curl", "sed")
	n := startExample(t)
	known := map[string]int{}
	var blocks []block
	for _, b := range blocksOf(readFile(t, "README.md")) {
		switch line := strings.TrimSpace(b.text); {
		case b.kind != "sh":
		case line == "go run ./caddymodule/talos run --config Caddyfile.example", line == "go test ./...",
			strings.HasPrefix(line, "xcaddy build "):
			known[strings.Fields(line)[0]+strings.Fields(line)[1]]++
			continue
		default:
			b.text = strings.ReplaceAll(b.text, "go build -o talos ./caddymodule/talos\n", "")
		}
		blocks = append(blocks, b)
	}
	if len(known) != 3 {
		t.Errorf("of the three known blocks the README has %v", known)
	}
	// A header in another spelling is no place for a key, and the log must not keep what somebody sends there.
	blocks = append(blocks, block{"sh", "for name in X_Api_Key X.Api.Key; do\n" +
		"curl -s -o /dev/null http://localhost:8080/ -H \"$name: $SECRET\"\ndone\n"})
	n.run(t, blocks)
	if strings.Contains(n.log.String(), "ory_ak_v1_") {
		t.Errorf("a credential is in the log:\n%s", n.log)
	}
}

// An app may fold what the example exempts into a path that it gates: no spelling of one passes without a key.
func TestAttack13_TheExampleExemptsPathsWithOneReadingOnly(t *testing.T) {
	t.Parallel()
	n := startExample(t)
	status := func(target string) string {
		t.Helper()
		conn, err := net.Dial("tcp", "127.0.0.1:"+n.ports["8080"])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, err = io.WriteString(conn, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		return strings.TrimSpace(line)
	}
	spellings := strings.Split(strings.TrimSpace(readFile(t, "caddymodule/testdata/path_spellings.txt")), "\n")
	if len(spellings) < 100 {
		t.Fatalf("%d spellings", len(spellings))
	}
	for _, target := range spellings {
		if got := status(target); strings.Contains(got, " 200 ") {
			t.Errorf("%q: %s", target, got)
		}
	}
	for target, want := range map[string]string{"/public/x": " 200 ", "/public/": " 200 ", "/orders": " 401 "} {
		if got := status(target); !strings.Contains(got, want) {
			t.Errorf("%q: %s", target, got)
		}
	}
}

// Each call of the API's page runs as it is written, by curl and by the command line, against the same node.
func TestAdminREADME_EachShellBlockRuns(t *testing.T) {
	t.Parallel()
	needs(t, "bash", "curl", "jq")
	n := startExample(t)
	blocks := blocksOf(readFile(t, "adminapi/README.md"))
	n.run(t, blocks)
}

func TestCaddyfileExample_IsFormattedAndValid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"fmt", "--diff", filepath.Join(root(t), "Caddyfile.example")},
		{"validate", "--config", filepath.Join(root(t), "Caddyfile.example")},
	} {
		cmd := exec.CommandContext(t.Context(), talostest.Binary(t), args...)
		cmd.Env = append(os.Environ(),
			"HOME="+dir, "XDG_DATA_HOME="+filepath.Join(dir, "data"),
			"XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("talos %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "caddy", "talos.db")); err == nil {
		t.Error("validate created the database")
	}
}
