package caddymodule

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// testSecret is the HMAC secret of the nodes in tests.
const testSecret = "an HMAC secret for tests, long enough"

// oneCaddy is held while a test runs Caddy, whose configuration is global to the process.
var oneCaddy sync.Mutex

// aloneWithCaddy makes a test the one that runs Caddy.
func aloneWithCaddy(t testing.TB) {
	t.Helper()
	oneCaddy.Lock()
	t.Cleanup(oneCaddy.Unlock)
}

// edge is a real Caddy in this process: a gated site on a free port, its private surface on another, and an app behind
// it that answers with what it was sent.
type edge struct {
	t       testing.TB
	addr    string // of the site, host:port
	admin   string // of the private surface, host:port
	folder  string
	backend *backend
	client  *http.Client
}

// edgeConfig is what a test adds to the edge's Caddyfile. BACKEND stands for the app's address in Site and Sites, FOLDER
// for the temporary folder everywhere.
type edgeConfig struct {
	Global string // global options
	Talos  string // options of the app talos
	Site   string // directives of the site; default: a gate with defaults, and the proxy
	Sites  string // further sites
}

// startEdge runs Caddy until the test ends.
func startEdge(t testing.TB, conf edgeConfig) *edge {
	t.Helper()
	aloneWithCaddy(t)
	folder, err := os.MkdirTemp("", "talos") //nolint:usetesting // Caddy may write into its storage after it has stopped
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	e := &edge{
		t: t, addr: freeport.Addr(t), admin: freeport.Addr(t), folder: folder, backend: newBackend(t),
		client: newClient(t),
	}
	e.load(conf)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	return e
}

// load replaces the configuration.
func (e *edge) load(conf edgeConfig) {
	e.t.Helper()
	if err := e.tryLoad(conf); err != nil {
		e.t.Fatalf("loading the configuration: %v", err)
	}
}

func (e *edge) tryLoad(conf edgeConfig) error {
	adapter := caddyconfig.GetAdapter("caddyfile")
	body, warnings, err := adapter.Adapt([]byte(e.caddyfile(conf)), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return fmt.Errorf("adapting: %w", err)
	}
	for _, w := range warnings {
		if !strings.Contains(w.Message, "not formatted") {
			e.t.Logf("adapting: %s", w.String())
		}
	}
	return caddy.Load(body, true)
}

// caddyfile is the configuration's text.
func (e *edge) caddyfile(conf edgeConfig) string {
	if conf.Site == "" {
		conf.Site = "talos_gate\nreverse_proxy BACKEND"
	}
	_, port, _ := strings.Cut(e.addr, ":")
	_, adminPort, _ := strings.Cut(e.admin, ":")
	if !strings.Contains(conf.Global, "log ") {
		conf.Global += "\nlog {\noutput discard\n}"
	}
	text := fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	grace_period 5s
	storage file_system FOLDER/caddy
	%s
	talos {
		storage sqlite://FOLDER/talos.db
		hmac_secret "%s"
		%s
	}
}
http://:%s {
	bind 127.0.0.1
	%s
}
http://:%s {
	bind 127.0.0.1
	talos_admin
}
%s
`, conf.Global, testSecret, conf.Talos, port, conf.Site, adminPort, conf.Sites)
	return strings.NewReplacer("BACKEND", e.backend.addr(), "FOLDER", filepath.ToSlash(e.folder)).Replace(text)
}

// node is the same, which has keys of its own.
func (e *edge) node() *node.Embedded { return embedded(e.t) }

// decisions is how many requests the gates have decided about in this way.
func decisions(t testing.TB, decision, reason string) int {
	t.Helper()
	ctx := caddy.ActiveContext()
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "talos_gate_decisions_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == decision && m.GetLabel()[1].GetValue() == reason {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	t.Fatalf("no metric for %s, %s", decision, reason)
	return 0
}

// runningNode is the node of the running configuration.
func runningNode(t testing.TB) node.Node {
	t.Helper()
	app := node.Running()
	if app == nil {
		t.Fatal("the running configuration has no node")
	}
	defer app.Release()
	return app.Hold()
}

func embedded(t testing.TB) *node.Embedded {
	t.Helper()
	n, ok := runningNode(t).(*node.Embedded)
	if !ok {
		t.Fatalf("the node is a %T", runningNode(t))
	}
	return n
}

// issue makes a key, which holds the fields that a test gives it.
func (e *edge) issue(r core.IssueRequest) (id, secret string) {
	e.t.Helper()
	if r.Name == "" {
		r.Name = "a key"
	}
	if r.ActorID == "" {
		r.ActorID = "someone"
	}
	key, secret, err := e.node().Engine.Issue(e.t.Context(), r)
	if err != nil {
		e.t.Fatalf("issuing a key: %v", err)
	}
	return key.ID, secret
}

// derive makes a token of a key.
func (e *edge) derive(r core.DeriveRequest) string {
	e.t.Helper()
	made, err := e.node().Engine.Derive(e.t.Context(), r)
	if err != nil {
		e.t.Fatalf("deriving a token: %v", err)
	}
	return made.Token
}

// store puts a key into the storage as no request could make it, and returns its credential.
func (e *edge) store(key core.Key) string {
	e.t.Helper()
	keyring, err := credential.NewKeyring(testSecret)
	if err != nil {
		e.t.Fatal(err)
	}
	format, err := credential.NewFormat(core.NetworkID{}, keyring, credential.Prefixes{})
	if err != nil {
		e.t.Fatal(err)
	}
	id, created := uuid.New(), time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	key.ID, key.Kind, key.Name, key.ActorID = id.String(), core.Issued, "a key", "someone"
	key.Status, key.Visibility = core.StatusActive, core.VisibilitySecret
	key.CreateTime, key.UpdateTime = created, created
	if _, _, err := e.node().Store.Create(e.t.Context(), key); err != nil {
		e.t.Fatalf("storing a key: %v", err)
	}
	secret, err := format.Mint(id, created, false)
	if err != nil {
		e.t.Fatal(err)
	}
	return secret
}

// revoke revokes a key through the private surface, as an operator does.
func (e *edge) revoke(id string) {
	e.t.Helper()
	if got := e.call(e.admin, "admin/apiKeys/"+id+":revoke", "{}"); got.status != http.StatusOK {
		e.t.Fatalf("revoking: %d: %s", got.status, got.body)
	}
}

// call calls the API at one of the edge's addresses.
func (e *edge) call(addr, operation, body string) answer {
	e.t.Helper()
	url := "http://" + addr + "/v2alpha1/" + operation
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := e.client.Do(req) //nolint:bodyclose // readAnswer closes it
	if err != nil {
		e.t.Fatalf("calling %s: %v", operation, err)
	}
	return readAnswer(e.t, res)
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// reason is what the error envelope says to programs.
func (a answer) reason() string {
	var envelope struct {
		Error struct {
			Code    int
			Details []struct{ Reason string }
		}
	}
	if json.Unmarshal([]byte(a.body), &envelope) != nil || len(envelope.Error.Details) != 1 || envelope.Error.Code != a.status {
		return ""
	}
	return envelope.Error.Details[0].Reason
}

// seen is what the app was sent.
func (a answer) seen(t testing.TB) seen {
	t.Helper()
	var s seen
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatalf("%d: the answer is not the app's: %s", a.status, a.body)
	}
	return s
}

// get sends a request; header is a list of names and values.
func (e *edge) get(target string, header ...string) answer {
	e.t.Helper()
	return e.do(http.MethodGet, target, nil, header...)
}

func (e *edge) do(method, target string, body io.Reader, header ...string) answer {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), method, "http://"+e.addr+target, body)
	if err != nil {
		e.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header[header[i]] = append(req.Header[header[i]], header[i+1])
	}
	res, err := e.client.Do(req) //nolint:bodyclose // readAnswer closes it
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, target, err)
	}
	return readAnswer(e.t, res)
}

// raw sends the bytes of an HTTP/1.1 request over a connection of its own; \n stands for CRLF.
func (e *edge) raw(text string) answer {
	e.t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(e.t.Context(), "tcp", e.addr)
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		e.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		e.t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method}) //nolint:bodyclose // readAnswer closes it
	if err != nil {
		e.t.Fatalf("reading the answer to %.80q: %v", text, err)
	}
	return readAnswer(e.t, res)
}

func readAnswer(t testing.TB, res *http.Response) answer {
	t.Helper()
	defer closeBody(res)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func closeBody(res *http.Response) { _ = res.Body.Close() }

// newClient is a client for a server that is reloaded: it lives through the handover of the socket.
func newClient(t testing.TB) *http.Client {
	t.Helper()
	c := newPlainClient(t)
	c.Transport = handover{c.Transport}
	return c
}

// handover sends a request again whose connection came while a reload replaced the socket: Caddy opens the new one
// beside the old one, and what waits in the old one when it closes was never read.
type handover struct{ http.RoundTripper }

func (h handover) RoundTrip(r *http.Request) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		res, err := h.RoundTripper.RoundTrip(r)
		again := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
		if !again || attempt == 5 || r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
			return res, err
		}
		if r.GetBody != nil {
			r = r.Clone(r.Context())
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

func newPlainClient(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 128, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// cidrs reads a list of ranges.
func cidrs(t testing.TB, list ...string) []netip.Prefix {
	t.Helper()
	parsed, err := core.ParseCIDRs(list)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
