package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
)

// The ids of the networks in tests.
const (
	tenantA = "550e8400-e29b-41d4-a716-446655440001"
	tenantB = "550e8400-e29b-41d4-a716-446655440002"
	tenantC = "550e8400-e29b-41d4-a716-446655440003"
)

// tenants is a Caddy with two networks, A and B, whose secrets, signing keys, issuer and prefixes are the same, and a
// third one with its own. The gated site is on one port with the public surface, the private surface on another.
type tenants struct {
	*solo
	admin string // of the private surface, host:port
}

// tenant is one network as its clients call it.
type tenant struct {
	*tenants
	id   string
	host string
}

const tenantOptions = `talos {
	storage sqlite://FOLDER/talos.db
	hmac_secret "` + testSecret + `"
	signing_keys FOLDER/keys.json
	network a.test a.internal bücher.test [::1] {
		id ` + tenantA + `
	}
	network b.test b.internal {
		id ` + tenantB + `
	}
	network c.test {
		id ` + tenantC + `
		key_prefix acme
		issuer https://c.test
		default_ttl 1h
		key_quota 1
	}
}`

const tenantSites = `http://:PORT {
	bind 127.0.0.1
	talos_public {
		health
	}
	route /b-only {
		talos_gate {
			network ` + tenantB + `
		}
		respond "{http.auth.user.actor} {http.auth.user.network}"
	}
	route {
		talos_gate
		respond "{http.auth.user.actor} {http.auth.user.network} {http.request.header.X-Talos-Network}"
	}
}
http://:ADMIN {
	bind 127.0.0.1
	talos_admin {
		hosts a.test a.internal b.test b.internal c.test d.test
	}
}`

func newTenants(t *testing.T) *tenants {
	t.Helper()
	s := newSolo(t)
	writeKeySet(t, s.folder+"/keys.json")
	n := &tenants{s, freeport.Addr(t)}
	n.load(tenantOptions)
	return n
}

func (n *tenants) load(options string) {
	n.t.Helper()
	n.mustLoad(options, strings.ReplaceAll(tenantSites, "ADMIN", portOf(n.admin)))
}

func (n *tenants) a() *tenant { return &tenant{n, tenantA, "a.test"} }
func (n *tenants) b() *tenant { return &tenant{n, tenantB, "b.test"} }
func (n *tenants) c() *tenant { return &tenant{n, tenantC, "c.test"} }

// send sends a request to an address under a host. header is a list of names and values.
func (n *tenants) send(addr, host, method, target, body string, header ...string) answer {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), method, "http://"+addr+target, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	req.Host = host
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return exchange(n.t, req)
}

// api calls the private surface of the network.
func (n *tenant) api(method, target, body string, header ...string) answer {
	n.t.Helper()
	return n.send(n.admin, n.host, method, "/v2alpha1/"+target, body, header...)
}

// gate sends a credential through the gate of the network.
func (n *tenant) gate(credential string, header ...string) answer {
	n.t.Helper()
	return n.send(n.addr, n.host, http.MethodGet, "/", "", append(header, "Authorization", "Bearer "+credential)...)
}

// must fills in what a call answered, which has to be a success.
func must[T any](n *tenant, got answer) (out T) {
	n.t.Helper()
	if got.status != http.StatusOK && got.status != http.StatusCreated {
		n.t.Fatalf("%s: %d %s", n.host, got.status, got.body)
	}
	if err := json.Unmarshal([]byte(got.body), &out); err != nil {
		n.t.Fatal(err)
	}
	return out
}

// issueFor issues a key for an actor.
func (n *tenant) issueFor(actor string) (id, secret string) {
	n.t.Helper()
	made := must[client.IssueResponse](n, n.api(http.MethodPost, "admin/issuedApiKeys",
		fmt.Sprintf(`{"name":"n","actor_id":%q}`, actor)))
	return made.IssuedAPIKey.KeyID, made.Secret
}

func TestNetworks_TheHostSaysWhoseKeysCount(t *testing.T) {
	n := newTenants(t)
	_, alice := n.a().issueFor("alice")
	_, bob := n.b().issueFor("bob")
	for host, want := range map[string]string{
		"a.test": tenantA, "a.internal": tenantA, "A.Test.:443": tenantA,
		"xn--bcher-kva.test": tenantA, "[::1]:1": tenantA,
		"b.test": tenantB, "B.INTERNAL": tenantB,
	} {
		own, foreign, actor := alice, bob, "alice"
		if want == tenantB {
			own, foreign, actor = bob, alice, "bob"
		}
		there := &tenant{n, want, host}
		if got := there.gate(own); got.status != http.StatusOK || got.body != actor+" "+want+" "+want {
			t.Errorf("%s, its own key: %d %s", host, got.status, got.body)
		}
		if got := there.gate(foreign); got.status != http.StatusUnauthorized {
			t.Errorf("%s, a key of the other network: %d %s", host, got.status, got.body)
		}
	}
}

func TestNetworks_AHostOfNoNetworkIs404AndHealthAnswers(t *testing.T) {
	n := newTenants(t)
	_, alice := n.a().issueFor("alice")
	d := &tenant{n, "", "d.test"}
	for what, got := range map[string]answer{
		"the gate":            d.gate(alice),
		"the gate, no key":    n.send(n.addr, d.host, http.MethodGet, "/", ""),
		"the private surface": d.api(http.MethodPost, "admin/apiKeys:verify", `{"credential":"`+alice+`"}`),
		"self-revocation": n.send(n.addr, d.host, http.MethodPost, "/v2alpha1/apiKeys:selfRevoke",
			`{"credential":"x"}`),
		"the key set": n.send(n.addr, d.host, http.MethodGet, "/v2alpha1/derivedKeys/jwks.json", ""),
		"an address":  n.send(n.admin, n.admin, http.MethodGet, "/v2alpha1/admin/edges", ""),
	} {
		if got.status != http.StatusNotFound || got.reason() != "NOT_FOUND" {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
	}
	for _, addr := range []string{n.addr, n.admin} {
		if got := n.send(addr, d.host, http.MethodGet, "/health/ready", ""); got.status != http.StatusOK {
			t.Errorf("health: %d %s", got.status, got.body)
		}
	}
	if got := n.a().gate(alice); got.status != http.StatusOK {
		t.Errorf("the key was revoked: %d", got.status)
	}
	// The private surface names no network by a host that it does not answer to, whatever the network's hosts are.
	got := n.send(n.admin, "bücher.test", http.MethodGet, "/v2alpha1/admin/edges", "")
	if got.status != http.StatusForbidden {
		t.Errorf("a host that is not in hosts: %d", got.status)
	}
}

func TestNetworks_EachHasItsOwnSettings(t *testing.T) {
	n := newTenants(t)
	c := n.c()
	made := must[client.IssueResponse](c, c.api(http.MethodPost, "admin/issuedApiKeys",
		`{"name":"n","actor_id":"carol"}`))
	if !strings.HasPrefix(made.Secret, "acme_v1_") {
		t.Errorf("the prefix is not the network's: %.12s", made.Secret)
	}
	if life := made.IssuedAPIKey.ExpireTime.Sub(made.IssuedAPIKey.CreateTime); life.Hours() != 1 {
		t.Errorf("a key's lifetime is %s", life)
	}
	got := must[client.VerifyResponse](c, c.api(http.MethodPost, "admin/apiKeys:verify",
		`{"credential":"`+made.Secret+`"}`))
	if got.Issuer != "https://c.test" {
		t.Errorf("the issuer is %s", got.Issuer)
	}
	second := c.api(http.MethodPost, "admin/issuedApiKeys", `{"name":"n","actor_id":"carol"}`)
	if second.reason() != "API_KEY_QUOTA_EXCEEDED" {
		t.Errorf("a second key: %d %s", second.status, second.body)
	}
	a := n.a()
	for range 3 { // has the defaults
		a.issueFor("alice")
	}
	plain := must[client.IssueResponse](a, a.api(http.MethodPost, "admin/issuedApiKeys",
		`{"name":"n","actor_id":"alice"}`))
	if !plain.IssuedAPIKey.ExpireTime.IsZero() || !strings.HasPrefix(plain.Secret, "ory_ak_v1_") {
		t.Errorf("got %+v", plain.IssuedAPIKey)
	}
}

func TestNetworks_SecretsThatAreNotGivenAreGeneratedForEach(t *testing.T) {
	n := newTenants(t)
	options := strings.NewReplacer("\tsigning_keys FOLDER/keys.json\n", "", "\thmac_secret \""+testSecret+"\"\n", "",
		"talos.db", "generated.db").Replace(tenantOptions)
	n.load(options)
	sets := map[string]bool{}
	secrets := map[string]*tenant{}
	for _, one := range []*tenant{n.a(), n.b(), n.c()} {
		_, secret := one.issueFor("someone")
		secrets[secret] = one
		got := n.send(n.addr, one.host, http.MethodGet, "/v2alpha1/derivedKeys/jwks.json", "")
		if got.status != http.StatusOK || sets[got.body] {
			t.Errorf("%s: the key set is another network's: %d", one.host, got.status)
		}
		sets[got.body] = true
	}
	n.load(options + " ") // it is another configuration, with the same secrets
	for secret, one := range secrets {
		if got := one.gate(secret); got.status != http.StatusOK {
			t.Errorf("%s: after a reload: %d", one.host, got.status)
		}
	}
}

func TestNetworks_AGateMayBePinnedToOne(t *testing.T) {
	n := newTenants(t)
	_, alice := n.a().issueFor("alice")
	_, bob := n.b().issueFor("bob")
	for _, host := range []string{"a.test", "b.test", "d.test"} {
		pinned := func(secret string) answer {
			return n.send(n.addr, host, http.MethodGet, "/b-only", "", "Authorization", "Bearer "+secret)
		}
		if got := pinned(bob); got.status != http.StatusOK || got.body != "bob "+tenantB {
			t.Errorf("%s: a key of its network: %d %s", host, got.status, got.body)
		}
		if got := pinned(alice); got.status != http.StatusUnauthorized {
			t.Errorf("%s: a key of another network: %d %s", host, got.status, got.body)
		}
	}
}

func TestNetworks_AReloadAddsAndRemovesThem(t *testing.T) {
	n := newTenants(t)
	_, alice := n.a().issueFor("alice")
	_, bob := n.b().issueFor("bob")
	withoutA := strings.Replace(tenantOptions,
		"network a.test a.internal bücher.test [::1] {\n\t\tid "+tenantA+"\n\t}", "", 1)
	if withoutA == tenantOptions {
		t.Fatal("the network was not removed")
	}
	n.load(withoutA)
	if got := n.a().gate(alice); got.status != http.StatusNotFound {
		t.Errorf("a network that is gone: %d %s", got.status, got.body)
	}
	if got := n.b().gate(alice); got.status != http.StatusUnauthorized {
		t.Errorf("its key in another one: %d", got.status)
	}
	if got := n.b().gate(bob); got.status != http.StatusOK {
		t.Errorf("a network that stays: %d", got.status)
	}
	n.load(strings.Replace(tenantOptions, "a.test", "moved.test", 1))
	moved := &tenant{n, tenantA, "moved.test"}
	if got := moved.gate(alice); got.status != http.StatusOK {
		t.Errorf("under its new host: %d %s", got.status, got.body)
	}
	if got := n.a().gate(alice); got.status != http.StatusNotFound {
		t.Errorf("under its old host: %d", got.status)
	}
}

// A node that had one network goes on with its keys as one of several, under the nil UUID and the secrets that it had.
func TestNetworks_TheKeysOfANodeWithOneNetworkBecomeThoseOfOne(t *testing.T) {
	n := newTenants(t)
	const before = "talos {\nstorage sqlite://FOLDER/moved.db\n}"
	n.mustLoad(before, onlyAdmin)
	_, secret := n.issue()
	n.load(strings.NewReplacer("\tsigning_keys FOLDER/keys.json\n", "", "\thmac_secret \""+testSecret+"\"\n", "",
		"talos.db", "moved.db", tenantA, "00000000-0000-0000-0000-000000000000").Replace(tenantOptions))
	if got := n.a().gate(secret); got.status != http.StatusOK {
		t.Errorf("a key from before: %d %s", got.status, got.body)
	}
	if got := n.b().gate(secret); got.status != http.StatusUnauthorized {
		t.Errorf("in another network: %d", got.status)
	}
}

func TestNetworks_MetricsAndEventsAreApart(t *testing.T) {
	n := newTenants(t)
	idA, alice := n.a().issueFor("alice")
	idB, _ := n.b().issueFor("bob")
	n.a().gate(alice)
	n.b().gate(alice)
	all := gathered(t)
	for name, want := range map[string][]string{
		"talos_gate_decisions_total": {tenantA, tenantB}, "talos_keys_changed_total": {tenantA, tenantB},
	} {
		for _, id := range want {
			if !all[name]["network"][id] {
				t.Errorf("%s has no network %s", name, id)
			}
		}
	}
	for one, ids := range map[*tenant][2]string{n.a(): {idA, idB}, n.b(): {idB, idA}} {
		page := must[client.EventsResponse](one, one.api(http.MethodGet, "admin/events", ""))
		has := func(id string) bool {
			return slices.ContainsFunc(page.Events, func(e client.Event) bool { return e.KeyID == id })
		}
		if !has(ids[0]) || has(ids[1]) {
			t.Errorf("%s is shown %+v", one.host, page.Events)
		}
	}
}
