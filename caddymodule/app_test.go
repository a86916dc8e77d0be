package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/caddymodule/internal/pool"
	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

// adapt turns a Caddyfile into Caddy's own form.
func adapt(tb testing.TB, text string) []byte {
	tb.Helper()
	body, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		tb.Fatalf("adapting: %v", err)
	}
	return body
}

// solo is a Caddy in this process that a test configures all by itself, in a folder of its own.
type solo struct {
	t      *testing.T
	folder string
	addr   string

	endpoint string // of the private surface
}

func newSolo(t *testing.T) *solo {
	t.Helper()
	aloneWithCaddy(t)
	//nolint:usetesting // Caddy may write into its storage after it has stopped
	folder, err := os.MkdirTemp("", "talos")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	s := &solo{t: t, folder: folder, addr: freeport.Addr(t)}
	s.endpoint = "http://" + s.addr
	t.Cleanup(s.stop)
	return s
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// text completes a configuration: FOLDER is replaced by the folder and PORT by the port of the address. Global options
// that name no log have none.
func (s *solo) text(talos, sites string) string {
	if !strings.Contains(talos, "log default") {
		talos = "log {\n\t\toutput discard\n\t}\n\t" + talos
	}
	return strings.NewReplacer("FOLDER", filepath.ToSlash(s.folder), "PORT", portOf(s.addr)).Replace(`{
	admin off
	persist_config off
	grace_period 5s
	auto_https disable_redirects
	storage file_system FOLDER/caddy
	` + talos + `
}
` + sites)
}

// onlyAdmin is a private surface at PORT, beside a gated site at the path /gated.
const onlyAdmin = `http://:PORT {
	bind 127.0.0.1
	route /gated {
		talos_gate
		respond "{http.auth.user.id}"
	}
	talos_admin
}`

func (s *solo) load(talos, sites string) error {
	return caddy.Load(adapt(s.t, s.text(talos, sites)), true)
}

func (s *solo) mustLoad(talos, sites string) {
	s.t.Helper()
	if err := s.load(talos, sites); err != nil {
		s.t.Fatal(err)
	}
}

func (s *solo) stop() {
	if err := caddy.Stop(); err != nil {
		s.t.Error(err)
	}
}

func (s *solo) app() *node.App {
	s.t.Helper()
	app, err := caddy.ActiveContext().App("talos")
	if err != nil {
		s.t.Fatal(err)
	}
	return app.(*node.App) //nolint:errcheck,forcetypeassert // it is ours
}

// issue makes a key through the private surface.
func (s *solo) issue() (id, secret string) {
	s.t.Helper()
	var opts []client.Option
	if strings.HasPrefix(s.endpoint, "http:") {
		opts = append(opts, client.WithTransport(newClient(s.t).Transport))
	}
	c, err := client.New(s.endpoint, opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	var made client.IssueResponse
	_, err = c.Do(s.t.Context(), http.MethodPost, "/v2alpha1/admin/issuedApiKeys",
		map[string]string{"name": "a key", "actor_id": "someone"}, &made)
	if err != nil {
		s.t.Fatalf("issuing: %v", err)
	}
	return made.IssuedAPIKey.KeyID, made.Secret
}

// gated calls the gated path with a credential.
func (s *solo) gated(secret string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.addr+"/gated", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	return exchange(s.t, req)
}

// exchange sends a request and reads the answer.
func exchange(t *testing.T, req *http.Request) answer {
	t.Helper()
	res, err := newClient(t).Do(req) //nolint:bodyclose // readAnswer closes it
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, res)
}

// uses is how many nodes and stores are open in the process.
func uses() (open []string) {
	pool.Nodes.Range(func(key, _ any) bool { open = append(open, fmt.Sprint("node ", key)); return true })
	pool.Stores.Range(func(key, _ any) bool { open = append(open, fmt.Sprint("store ", key)); return true })
	return open
}

func TestValidateCreatesNothing(t *testing.T) {
	s := newSolo(t)
	t.Setenv("XDG_DATA_HOME", filepath.Join(s.folder, "data"))
	for _, talos := range []string{"", "talos", "talos {\nstorage sqlite://FOLDER/deep/down/talos.db\n}"} {
		var cfg *caddy.Config
		if err := json.Unmarshal(adapt(t, s.text(talos, onlyAdmin)), &cfg); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(cfg); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(s.folder); err != nil || len(left) != 0 {
		t.Errorf("validation left %v (%v)", left, err)
	}
	if open := uses(); open != nil {
		t.Errorf("validation left %v open", open)
	}
}

func TestNodeWithoutConfigurationSurvivesRestarts(t *testing.T) {
	s := newSolo(t)
	t.Setenv("XDG_DATA_HOME", filepath.Join(s.folder, "data"))
	s.mustLoad("", onlyAdmin)
	id, secret := s.issue()
	s.stop()
	s.mustLoad("", onlyAdmin)
	if got := s.gated(secret); got.status != http.StatusOK || got.body != id {
		t.Errorf("got %d %s", got.status, got.body)
	}
	for _, file := range []string{"data/caddy/talos.db", "caddy/talos/hmac_secret", "caddy/talos/signing_keys"} {
		if info, err := os.Stat(filepath.Join(s.folder, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, want mode 0600", file, err)
		}
	}
}

func TestNodeWithAnotherSecretRefusesToStart(t *testing.T) {
	s := newSolo(t)
	const talos = "talos {\nstorage sqlite://FOLDER/talos.db\nhmac_secret %s\n}"
	first, second := strings.Repeat("a", 40), strings.Repeat("b", 40)
	s.mustLoad(fmt.Sprintf(talos, first), onlyAdmin)
	_, secret := s.issue()

	err := s.load(fmt.Sprintf(talos, second), onlyAdmin)
	if err == nil || !strings.Contains(err.Error(), "HMAC secrets are not those") ||
		strings.Contains(err.Error(), second) {
		t.Fatalf("got %v", err)
	}
	if got := s.gated(secret); got.status != http.StatusOK {
		t.Errorf("the earlier configuration does not serve: %d %s", got.status, got.body)
	}
	if open := uses(); len(open) != 2 {
		t.Errorf("open: %v", open)
	}
	s.stop()
	if err := s.load(fmt.Sprintf(talos, second), onlyAdmin); err == nil {
		t.Error("started with another secret")
	}
	if open := uses(); open != nil {
		t.Errorf("open: %v", open)
	}
	s.mustLoad(fmt.Sprintf(talos, second+" "+first), onlyAdmin)
	if got := s.gated(secret); got.status != http.StatusOK {
		t.Errorf("with the secret retired: %d %s", got.status, got.body)
	}
}

func TestConfigurationThatFailsToStartLeavesNothing(t *testing.T) {
	s := newSolo(t)
	s.mustLoad("talos {\nstorage sqlite://FOLDER/talos.db\n}", onlyAdmin)
	before := uses()
	// The node is open when the HTTP app fails to start.
	for range 8 {
		taken, err := takenAddr(t)
		if err != nil {
			t.Fatal(err)
		}
		err = s.load("talos {\nstorage sqlite://FOLDER/other.db\n}",
			"http://:"+portOf(taken)+" {\nbind 127.0.0.1\ntalos_admin\n}",
		)
		if err == nil {
			t.Fatal("a configuration with a taken port was loaded")
		}
		if open := uses(); len(open) != len(before) {
			t.Fatalf("open: %v, before: %v", open, before)
		}
	}
	s.issue()
}

func TestStorageThatCannotBeOpenedIsAClearError(t *testing.T) {
	s := newSolo(t)
	err := s.load("talos {\nstorage sqlite://FOLDER\n}", onlyAdmin)
	if err == nil || !strings.Contains(err.Error(), "opening the storage") {
		t.Errorf("got %v", err)
	}
	if open := uses(); open != nil {
		t.Errorf("open: %v", open)
	}
}

func TestRequestAfterCleanupIsServed(t *testing.T) {
	s := newSolo(t)
	const talos = "talos {\nstorage sqlite://FOLDER/%s.db\n}"
	s.mustLoad(fmt.Sprintf(talos, "first"), onlyAdmin)
	_, secret := s.issue()
	old := s.app()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mustLoad(fmt.Sprintf(talos, "second"), onlyAdmin)
	if open := uses(); len(open) != 2 {
		t.Fatalf("open: %v", open)
	}
	for range 2 {
		late := old.Hold()
		result, err := late.Verify(req, core.NetworkID{}, secret)
		if err != nil || result.Verdict.Code != core.CodeValid {
			t.Fatalf("got %+v, %v", result.Verdict, err)
		}
		open, ok := late.(*node.Embedded)
		if !ok {
			t.Fatalf("the node is a %T", late)
		}
		_, _, err = open.Keys(core.NetworkID{}).Issue(t.Context(),
			engine.IssueRequest{Name: "late", ActorID: "someone"})
		if err != nil {
			t.Fatal(err)
		}
		old.Release()
	}
	if open := uses(); len(open) != 2 {
		t.Errorf("a late request left %v open", open)
	}
	if err := old.Cleanup(); err != nil || len(uses()) != 2 {
		t.Errorf("a second Cleanup: %v, open: %v", err, uses())
	}
}

func TestReloadThatChangesNothingOfTheNodeKeepsTheCache(t *testing.T) {
	s := newSolo(t)
	const talos = "talos {\nstorage sqlite://FOLDER/talos.db\n}"
	s.mustLoad(talos, onlyAdmin)
	_, secret := s.issue()
	s.gated(secret)
	before := runningNode(s.t)
	s.mustLoad(talos, onlyAdmin+"\nhttp://:"+portOf(freeport.Addr(t))+" {\nrespond 204\n}")
	if after := runningNode(s.t); after != before {
		t.Error("the node was opened anew")
	}
	s.mustLoad(
		"talos {\nstorage sqlite://FOLDER/../"+filepath.Base(s.folder)+"/talos.db\ncache {\nttl 30s\n}\n}", onlyAdmin)
	after := runningNode(s.t)
	if after == before {
		t.Error("another ttl did not open another node")
	}
	if storeOf(t, after) != storeOf(t, before) {
		t.Error("the storage was opened anew under another spelling of its path")
	}
}

func TestPrivateSurfaceOnAnOpenListenerIsAnError(t *testing.T) {
	s := newSolo(t)
	for _, site := range []string{
		":4420 {\ntalos_admin\n}",
		"http://localhost:4420 {\ntalos_admin\n}",
		"http://:4420 {\nbind 0.0.0.0\ntalos_admin\n}",
		"http://:4420 {\nbind 127.0.0.1 10.0.0.1\ntalos_admin\n}",
		"http://:4420 {\nbind {env.TALOS_TEST_BIND}\nhandle /x/* {\ntalos_admin\n}\n}",
		"http://:4420 {\nbind 127.0.0.1\ntalos_public\n}\nhttp://b.example:4420 {\ntalos_admin\n}",
	} {
		t.Setenv("TALOS_TEST_BIND", "10.0.0.1")
		var cfg *caddy.Config
		if err := json.Unmarshal(adapt(t, s.text("", site)), &cfg); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(cfg); err == nil || !strings.Contains(err.Error(), "beyond this machine") {
			t.Errorf("%s\ngot %v", site, err)
		}
	}
	for _, site := range []string{
		"http://:4420 {\nbind 127.0.0.1 ::1\ntalos_admin\n}",
		"http://:4420 {\nbind unix//" + s.folder + "/talos.sock\ntalos_admin\n}",
		"http://:4420 {\nbind 10.0.0.1\ntalos_admin {\nallow 10.0.0.0/8\n}\n}",
	} {
		var cfg *caddy.Config
		if err := json.Unmarshal(adapt(t, s.text("", site)), &cfg); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(cfg); err != nil {
			t.Errorf("%s\ngot %v", site, err)
		}
	}
}

// takenAddr is an address that something else listens on until the test ends.
func takenAddr(t *testing.T) (string, error) {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), nil
}

// storeOf is the store of an embedded node.
func storeOf(t *testing.T, n node.Node) core.Store {
	t.Helper()
	open, ok := n.(*node.Embedded)
	if !ok {
		t.Fatalf("the node is a %T", n)
	}
	return open.Store
}
