package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
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

// edgeConfig is what a test adds to the edge's Caddyfile. BACKEND is the app's address in Site and Sites, FOLDER the
// temporary folder everywhere.
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
	//nolint:usetesting // Caddy may write into its storage after it has stopped
	folder, err := os.MkdirTemp("", "talos")
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
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["decision"] == decision && labels["reason"] == reason && labels["network"] == "" {
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
func (e *edge) issue(r engine.IssueRequest) (id, secret string) {
	e.t.Helper()
	if r.Name == "" {
		r.Name = "a key"
	}
	if r.ActorID == "" {
		r.ActorID = "someone"
	}
	key, secret, err := e.node().Keys(core.NetworkID{}).Issue(e.t.Context(), r)
	if err != nil {
		e.t.Fatalf("issuing a key: %v", err)
	}
	return key.ID, secret
}

// derive makes a token of a key.
func (e *edge) derive(r engine.DeriveRequest) string {
	e.t.Helper()
	made, err := e.node().Keys(core.NetworkID{}).Derive(e.t.Context(), r)
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

// logLines are the lines of a log file.
func (e *edge) logLines(name string) []string {
	e.t.Helper()
	body, err := os.ReadFile(filepath.Join(e.folder, name))
	if err != nil {
		e.t.Fatal(err)
	}
	return strings.FieldsFunc(string(body), func(c rune) bool { return c == '\n' })
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
