package command

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/caddymodule/internal/talostest"
)

const tenantSite = `{
	admin off
	persist_config off
	talos {
		storage sqlite://DATABASE
	}
}
http://:ADMIN {
	bind 127.0.0.1
	talos_admin {
		hosts *.internal
	}
}
http://:GATE {
	bind 127.0.0.1
	talos_public {
		health
	}
	route /pinned {
		talos_gate {
			network ` + pinnedNetwork + `
		}
		respond pinned
	}
	route {
		talos_gate {
			identity X-Talos- actor network
		}
		respond "{http.auth.user.network}"
	}
}
`

// pinnedNetwork is the network of the database that the gate of a path is pinned to.
const pinnedNetwork = "550e8400-e29b-41d4-a716-446655440007"

// tenants is a node whose networks are in its database.
type tenants struct {
	*testing.T
	env   []string
	ports talostest.Ports
}

func newTenants(t *testing.T) *tenants {
	t.Helper()
	dir, env := home(t)
	database := filepath.Join(dir, "talos.db")
	n := &tenants{t, append(env, envDSN+"=sqlite://"+database), talostest.NewPorts(t, "ADMIN", "GATE", "EDGE")}
	n.start(strings.ReplaceAll(tenantSite, "DATABASE", database), "ADMIN", "GATE")
	return n
}

// start runs a configuration, and waits until it answers at its ports.
func (t *tenants) start(caddyfile string, ports ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(t.ports.In(caddyfile)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary(t.T), "run", "--config", file)
	cmd.Env = t.env
	process := talostest.Start(t, cmd, new(talostest.Log))
	for _, port := range ports {
		process.AwaitOK(t, t.ports.In("http://127.0.0.1:"+port+"/health/ready"))
	}
}

// talos runs a command on the database.
func (t *tenants) talos(args ...string) string {
	t.Helper()
	out, exit := runBinary(t.T, t.env, append([]string{"networks"}, args...)...)
	if exit != 0 {
		t.Fatalf("networks %v: exit %d", args, exit)
	}
	return strings.TrimSpace(out)
}

// send makes a request for a host.
func (t *tenants) send(method, url, host, secret, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, t.ports.In(url), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Header.Set("Content-Type", "application/json")
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// issue makes a key in the network of a host.
func (t *tenants) issue(host string) (secret string) {
	t.Helper()
	return t.issueKey(host).Secret
}

func (t *tenants) issueKey(host string) (issued client.IssueResponse) {
	t.Helper()
	status, answer := t.send(http.MethodPost, "http://127.0.0.1:ADMIN/v2alpha1/admin/issuedApiKeys", host, "",
		`{"name":"n","actor_id":"a"}`)
	if err := json.Unmarshal([]byte(answer), &issued); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d %s", host, status, answer)
	}
	return issued
}

// gate is what the gate answers to a key on a host.
func (t *tenants) gate(host, secret string) int { return t.gateAt("GATE", host, secret) }

func (t *tenants) gateAt(port, host, secret string) int {
	t.Helper()
	return t.get(port, "/", host, secret)
}

func (t *tenants) get(port, path, host, secret string) int {
	t.Helper()
	status, _ := t.send(http.MethodGet, "http://127.0.0.1:"+port+path, host, secret, "")
	return status
}

func (t *tenants) awaitGate(host, secret string, want int) {
	t.Helper()
	awaitNil(t.T, func() error {
		if got := t.gate(host, secret); got != want {
			return fmt.Errorf("it answers %d", got)
		}
		return nil
	}, "%s is to answer %d", host, want)
}

func TestNetworks_OfTheDatabaseAreServedWithoutARestart(t *testing.T) {
	t.Parallel()
	n := newTenants(t)
	before := n.issue("localhost")
	if got := n.gate("tenant1.internal", before); got != http.StatusOK {
		t.Fatalf("before there is a network, every host is the node's: %d", got)
	}
	if got := n.get("GATE", "/pinned", "localhost", before); got != http.StatusNotFound {
		t.Errorf("a gate of a network that is not there yet: %d", got)
	}
	one := n.talos("create", "tenant1.internal", "Tenant1.example.com.", "--key-prefix", "one", "--key-quota", "1",
		"--id", pinnedNetwork, "-q")
	n.awaitGate("tenant1.internal", before, http.StatusUnauthorized)
	secret := n.issue("tenant1.internal")
	if !strings.HasPrefix(secret, "one_v1_") {
		t.Errorf("its settings do not count: %s", secret[:10])
	}
	if got := n.gate("TENANT1.example.com:80", secret); got != http.StatusOK {
		t.Errorf("its second host: %d", got)
	}
	if got := n.gate("localhost", secret); got != http.StatusUnauthorized {
		t.Errorf("its key on another host: %d", got)
	}
	if got := n.gate("localhost", before); got != http.StatusOK {
		t.Errorf("the node's own network: %d", got)
	}
	status, _ := n.send(http.MethodPost, "http://127.0.0.1:ADMIN/v2alpha1/admin/issuedApiKeys", "tenant1.internal", "",
		`{"name":"n","actor_id":"a"}`)
	if status != http.StatusPaymentRequired {
		t.Errorf("beyond its quota: %d", status)
	}

	if got := n.get("GATE", "/pinned", "localhost", secret); got != http.StatusOK {
		t.Errorf("a gate that is pinned to it: %d", got)
	}
	if got := n.get("GATE", "/pinned", "localhost", before); got != http.StatusUnauthorized {
		t.Errorf("a gate that is pinned to it, and a key of another network: %d", got)
	}

	n.talos("suspend", one)
	n.awaitGate("tenant1.internal", secret, http.StatusNotFound)
	if got := n.get("GATE", "/pinned", "localhost", secret); got != http.StatusNotFound {
		t.Errorf("a gate of a suspended network: %d", got)
	}
	if got := n.gate("tenant1.internal", before); got != http.StatusNotFound {
		t.Errorf("the host of a suspended network is that of another one: %d", got)
	}
	n.talos("resume", one)
	n.awaitGate("tenant1.internal", secret, http.StatusOK)
}

const edgeSite = `{
	admin off
	persist_config off
	talos {
		edge_id edge-1
		upstream http://127.0.0.1:ADMIN
		network tenant1.internal {
			id ONE
		}
		network tenant2.internal {
			id TWO
		}
	}
}
http://:EDGE {
	bind 127.0.0.1
	talos_public {
		health
	}
	talos_gate
	respond "{http.auth.user.network}"
}
`

// The edge follows the changes of each of its networks: what was revoked at the node is refused at the edge when the
// edge has confirmed it.
func TestNetworks_ASidecarConfirmsWhatIsRevokedInEachOfThem(t *testing.T) {
	t.Parallel()
	n := newTenants(t)
	hosts := []string{"tenant1.internal", "tenant2.internal"}
	site := edgeSite
	for i, host := range hosts {
		site = strings.ReplaceAll(site, []string{"ONE", "TWO"}[i], n.talos("create", host, "-q"))
	}
	n.awaitGate(hosts[1], "", http.StatusUnauthorized)
	n.start(site, "EDGE")
	keys := make([]client.IssueResponse, len(hosts))
	for i, host := range hosts {
		awaitNil(t, func() error {
			status, answer := n.send(http.MethodGet, "http://127.0.0.1:ADMIN/v2alpha1/admin/edges", host, "", "")
			if status != http.StatusOK || !strings.Contains(answer, `"edge-1"`) {
				return fmt.Errorf("%d %s", status, answer)
			}
			return nil
		}, "the edge is to follow %s", host)
		keys[i] = n.issueKey(host)
		if got := n.gateAt("EDGE", host, keys[i].Secret); got != http.StatusOK {
			t.Errorf("%s: a new key: %d", host, got)
		}
	}
	for i, host := range hosts {
		status, answer := n.send(http.MethodPost, "http://127.0.0.1:ADMIN/v2alpha1/admin/apiKeys/"+
			keys[i].IssuedAPIKey.KeyID+":revoke?wait=30s", host, "", "{}")
		if status != http.StatusOK {
			t.Errorf("%s: revoking: %d %s", host, status, answer)
		}
		for j, host := range hosts {
			want := http.StatusUnauthorized
			if j > i {
				want = http.StatusOK
			}
			if got := n.gateAt("EDGE", host, keys[j].Secret); got != want {
				t.Errorf("%s after %d revocations: %d, want %d", host, i+1, got, want)
			}
		}
	}
}

func TestNetworks_TheCommandRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	env = append(env, envDSN+"=sqlite://"+filepath.Join(dir, "talos.db"))
	networks := func(args ...string) (string, int) {
		_, stderr, exit := runBinaryBoth(t, env, append([]string{"networks"}, args...)...)
		return stderr, exit
	}
	const id = "550e8400-e29b-41d4-a716-446655440001"
	if stderr, exit := networks("create", "a.example", "--id", id); exit != 0 {
		t.Fatal(stderr)
	}
	for want, args := range map[string][]string{
		"is another network's":             {"create", "A.example."},
		"a network with this id":           {"create", "b.example", "--id", id},
		"without port":                     {"create", "b.example:80"},
		"not a UUID":                       {"create", "b.example", "--id", "1"},
		"cannot be the id":                 {"create", "b.example", "--id", "00000000-0000-0000-0000-000000000000"},
		"must be 1 to 16 letters":          {"create", "b.example", "--key-prefix", "a b"},
		"no network with this id":          {"suspend", "550e8400-e29b-41d4-a716-446655440009"},
		"requires at least 1 arg":          {"create"},
		"--max-ttl":                        {"create", "b.example", "--max-ttl", "long"},
		"is not an absolute URI such as h": {"create", "b.example", "--issuer", "api"},
	} {
		if stderr, exit := networks(args...); exit == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %s, and no %q", args, exit, stderr, want)
		}
	}
	out, _ := runBinary(t, env, "networks", "list", "--format", "json")
	var list struct {
		Networks []networkRecord `json:"networks"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Networks) != 1 || list.Networks[0].ID != id {
		t.Errorf("%s: %v", out, err)
	}
}
