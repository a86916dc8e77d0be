package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const examples = "caddymodule/examples/"

// section is a part of a page, from a heading of the second level to the next one.
type section struct {
	title, text string
}

// sectionsOf are the sections of a page, after what comes before the first one.
func sectionsOf(page string) (preamble string, sections []section) {
	parts := strings.Split("\n"+page, "\n## ")
	for _, part := range parts[1:] {
		title, text, _ := strings.Cut(part, "\n")
		sections = append(sections, section{title, text + "\n"})
	}
	return parts[0], sections
}

var (
	listens    = regexp.MustCompile(`(?m)^https?://[a-z.]*:(\d+) \{`)
	assignment = regexp.MustCompile(`^[A-Z_]+=`)
	configFile = regexp.MustCompile(`\(([\w-]+\.caddyfile)\)`)
)

// atHome changes an example as its page says for a trial on one machine: names and files of other machines.
func (n *node) atHome(text string) string {
	return strings.NewReplacer(
		"api.example.com {", "http://:8080 {",
		"upstream https://talos.internal:4421", "upstream https://127.0.0.1:4421",
		"/etc/talos/root.crt", filepath.ToSlash(n.dir)+"/data/caddy/pki/authorities/local/root.crt",
	).Replace(text)
}

// startAll runs the commands of a section's console block, one after the other, and waits for the ports of each.
func (n *node) startAll(t *testing.T, blocks []block) {
	t.Helper()
	for _, b := range blocks {
		if b.kind != "console" {
			continue
		}
		for line := range strings.Lines(b.text) {
			words := strings.Fields(n.ports.In(line))
			var env []string
			for assignment.MatchString(words[0]) {
				env, words = append(env, words[0]), words[1:]
			}
			if words[0] != "talos" {
				t.Fatalf("the page starts %q", words[0])
			}
			if len(env) == 0 {
				env = []string{"TALOS_SERVE_HTTP_PORT=" + n.ports["4420"]} // the default, for serve
			}
			_, port, _ := strings.Cut(env[0], "=")
			ports := []string{port}
			text := ""
			if file := words[len(words)-1]; strings.HasSuffix(file, ".caddyfile") {
				b, err := os.ReadFile(filepath.Join(n.dir, file))
				if err != nil {
					t.Fatal(err)
				}
				text, ports = string(b), nil
				for _, m := range listens.FindAllStringSubmatch(text, -1) {
					ports = append(ports, m[1])
				}
			}
			p := n.start(t, env, words[1:]...)
			for _, port := range ports {
				p.Await(t, "port "+port, func() error {
					conn, err := net.Dial("tcp", "127.0.0.1:"+port)
					if err == nil {
						_ = conn.Close()
					}
					return err
				})
			}
			if strings.Contains(text, "health") {
				p.AwaitOK(t, n.ports.In("http://127.0.0.1:8080/health/ready"))
			}
		}
	}
}

// newExamples makes a home with all example files in it.
func newExamples(t *testing.T) *node {
	t.Helper()
	n := newNode(t, "8080", "4420", "4421", "9000")
	for _, name := range exampleFiles(t) {
		n.write(t, examples+name, n.atHome(readFile(t, examples+name)))
	}
	return n
}

// exampleFiles are the names of the configurations in the folder of examples.
func exampleFiles(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root(t), examples, "*.caddyfile"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		names = append(names, filepath.Base(file))
	}
	return names
}

// Each set-up and each recipe runs as its section says, from its complete file, and prints what the section says.
func TestExamples_EachRuns(t *testing.T) {
	t.Parallel()
	needs(t, "bash", "curl", "jq")
	preamble, sections := sectionsOf(readFile(t, examples+"README.md"))
	setUp := strings.ReplaceAll(blocksOf(preamble)[0].text, "go build -o talos ./caddymodule/talos\n", "")
	for _, s := range sections {
		t.Run(s.title, func(t *testing.T) {
			t.Parallel()
			n := newExamples(t)
			if s.title == "WebSockets" {
				n.closesWebSocketsAfterARevocation(t, blocksOf(s.text))
				return
			}
			blocks := blocksOf(s.text)
			n.startAll(t, blocks)
			n.run(t, append([]block{{"sh", setUp}}, blocks...))
			if log := n.log.String(); strings.Contains(log, "ory_ak_v1_") {
				t.Errorf("a credential is in the log:\n%s", log)
			}
		})
	}
}

// The programs of the API's page in other languages run as they are printed, and print what the page says.
func TestAdminREADME_ThePrograms(t *testing.T) {
	t.Parallel()
	blocks := blocksOf(readFile(t, "adminapi/README.md"))
	for i, b := range blocks {
		file, tool := "example.mjs", "node"
		switch b.kind {
		case "js":
		case "python":
			file, tool = "example.py", "python3"
		default:
			continue
		}
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			needs(t, "bash", tool)
			n := startExample(t)
			n.write(t, file, b.text)
			n.run(t, []block{{"sh", blocks[i+1].text}, blocks[i+2]})
			if want := tool + " " + file + "\n"; blocks[i+1].text != want {
				t.Errorf("the page runs %q, want %q", blocks[i+1].text, want)
			}
		})
	}
}

// The program of the recipe for tokens verifies a token as an app does, and refuses a forged one.
func TestExamples_TheProgramVerifiesTokens(t *testing.T) {
	t.Parallel()
	needs(t, "bash", "curl", "jq", "node")
	_, sections := sectionsOf(readFile(t, examples+"README.md"))
	n := newExamples(t)
	n.write(t, "verify.mjs", readFile(t, examples+"verify.mjs"))
	for _, s := range sections {
		if s.title != "Tokens" {
			continue
		}
		blocks := blocksOf(s.text)
		n.startAll(t, blocks)
		for _, b := range blocks {
			if b.kind == "sh" && strings.Contains(b.text, "derive-token") {
				n.run(t, []block{
					b, {"sh", "node verify.mjs \"$TOKEN\"\n"}, {"text", "alice may orders:read"},
					{"sh", "(node verify.mjs \"${TOKEN%?????}AAAAA\" 2>&1 || true) |" +
						" grep -om1 'signature is not valid' | head -1\n"},
					{"text", "signature is not valid"},
				})
				return
			}
		}
	}
	t.Error("the page derives no token")
}

// The recipe for WebSockets needs an app that has them.
func (n *node) closesWebSocketsAfterARevocation(t *testing.T, blocks []block) {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"+
			"Connection: Upgrade\r\n\r\nhello\n")
		_, _ = io.Copy(io.Discard, buffer)
	}))
	t.Cleanup(app.Close)
	_, n.ports["9000"], _ = strings.Cut(app.Listener.Addr().String(), ":")
	n.write(t, examples+"websockets.caddyfile",
		strings.Replace(readFile(t, examples+"websockets.caddyfile"), "recheck 30s", "recheck 1s", 1))
	n.startAll(t, blocks)

	out := n.talos(t, "keys", "issue", "a socket", "--actor", "alice", "--format", "json")
	secret := regexp.MustCompile(`"secret":\s*"([^"]+)"`).FindStringSubmatch(out)
	id := regexp.MustCompile(`"key_id":\s*"([^"]+)"`).FindStringSubmatch(out)
	if secret == nil || id == nil {
		t.Fatalf("issuing a key prints %s", out)
	}
	conn, err := net.Dial("tcp", "127.0.0.1:"+n.ports["8080"])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", secret[1])
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, " 101 ") {
		t.Fatalf("the gate answers %q, %v", line, err)
	}
	n.talos(t, "keys", "revoke", id[1])
	if rest, err := io.ReadAll(r); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("the connection is open after the revocation: %q, %v", rest, err)
	}
}

// talos runs a command in the node's home and returns what it prints.
func (n *node) talos(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(n.dir, "talos"), args...)
	cmd.Dir, cmd.Env = n.dir, n.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("talos %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// Each file belongs to a section, and what the page shows of a file is in it.
func TestExamples_ThePageShowsTheFiles(t *testing.T) {
	t.Parallel()
	lines := func(text string) string {
		var trimmed []string
		for line := range strings.Lines(text) {
			trimmed = append(trimmed, strings.TrimSpace(line))
		}
		return "\n" + strings.Join(trimmed, "\n")
	}
	_, sections := sectionsOf(readFile(t, examples+"README.md"))
	linked := map[string]bool{}
	for _, s := range sections {
		var files strings.Builder
		for _, m := range configFile.FindAllStringSubmatch(s.text, -1) {
			linked[m[1]] = true
			files.WriteString(readFile(t, examples+m[1]))
		}
		for _, b := range blocksOf(s.text) {
			switch b.kind {
			case "caddyfile":
				if !strings.Contains(lines(files.String()), lines(b.text)) {
					t.Errorf("%s: its file does not contain\n%s", s.title, b.text)
				}
			case "js":
				if b.text != readFile(t, examples+"verify.mjs") {
					t.Errorf("%s: verify.mjs is another program", s.title)
				}
			}
		}
	}
	for _, name := range exampleFiles(t) {
		if !linked[name] {
			t.Errorf("no section links to %s", name)
		}
	}
}

// Each file is formatted, and valid as it is.
func TestExamples_AreFormattedAndValid(t *testing.T) {
	t.Parallel()
	n := newNode(t, "4420")
	for _, name := range exampleFiles(t) {
		file := filepath.Join(root(t), examples, name)
		n.talos(t, "fmt", "--diff", file)
		if text := readFile(t, examples+name); strings.Contains(text, "/etc/talos/root.crt") {
			continue // the certificate is read by validate; TestExamples_EachRuns has one
		}
		n.talos(t, "validate", "--config", file, "--adapter", "caddyfile")
	}
}
