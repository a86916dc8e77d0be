package caddymodule_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// writeKeySet makes a file with a signing key.
func writeKeySet(t testing.TB, path string) {
	t.Helper()
	set, err := credential.GenerateSigningKeys()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, set, 0o600); err != nil {
		t.Fatal(err)
	}
}

// loot is what somebody has who holds everything of one network, and tries it in another.
type loot struct {
	*tenant
	actor       string
	keyID       string // of an issued key
	importedID  string
	credentials []string // the key, and a JWT and a macaroon that were derived from it
	pageToken   string
	edge        string // the name of an edge that follows the network
	hosts       []string
}

// sharedRawKey is imported in both networks, for another actor in each.
const sharedRawKey = "sk_live_the_same_in_both_networks"

func newLoot(n *tenant, actor string, hosts ...string) *loot {
	n.t.Helper()
	l := &loot{tenant: n, actor: actor, edge: "edge-of-" + actor, hosts: hosts}
	var secret string
	l.keyID, secret = n.issueFor(actor)
	n.issueFor(actor)
	made := must[client.ImportedAPIKey](n, n.api(http.MethodPost, "admin/importedApiKeys",
		fmt.Sprintf(`{"raw_key":%q,"name":"n","actor_id":%q}`, sharedRawKey, actor)))
	l.importedID = made.KeyID
	l.credentials = []string{secret}
	for _, algorithm := range []string{"TOKEN_ALGORITHM_JWT", "TOKEN_ALGORITHM_MACAROON"} {
		derived := must[client.DeriveResponse](n, n.api(http.MethodPost, "admin/apiKeys:derive",
			fmt.Sprintf(`{"credential":%q,"algorithm":%q}`, secret, algorithm)))
		l.credentials = append(l.credentials, derived.Token.Token)
	}
	list := must[client.ListIssuedResponse](n, n.api(http.MethodGet, "admin/issuedApiKeys?page_size=1", ""))
	if l.pageToken = list.NextPageToken; l.pageToken == "" {
		n.t.Fatal("there is no second page")
	}
	n.api(http.MethodGet, "admin/events", "", client.EdgeIDHeader, l.edge)
	return l
}

// spelled is one of the hosts in a random spelling that means the same.
func (l *loot) spelled(random *rand.Rand) string {
	host := l.hosts[random.IntN(len(l.hosts))]
	var b strings.Builder
	for _, c := range host {
		if text := string(c); random.IntN(2) == 0 {
			b.WriteString(strings.ToUpper(text))
		} else {
			b.WriteString(text)
		}
	}
	return b.String() + []string{"", ".", ":80", ".:65535", ":"}[random.IntN(5)]
}

// at is the network under a host.
func (l *loot) at(host string) *tenant { return &tenant{l.tenants, l.id, host} }

// refused reports a call that was not refused with 400, 401, 404 or 429. Nothing of the other network is in an answer.
func refused(what string, got answer, other *loot) error {
	switch got.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusTooManyRequests:
	default:
		return fmt.Errorf("%s: %d %s", what, got.status, got.body)
	}
	return silent(what, got, other)
}

// silent reports an answer that tells something of the other network.
func silent(what string, got answer, other *loot) error {
	for _, secret := range []string{other.keyID, other.importedID, other.actor, other.id, other.edge} {
		if strings.Contains(got.body, secret) {
			return fmt.Errorf("%s: the answer tells of the other network: %s", what, got.body)
		}
	}
	return nil
}

// attempt tries what is from's in a network under one of its hosts.
type attempt func(random *rand.Rand, from, to *loot, at *tenant) error

var crossNetworkAttempts = map[string]attempt{
	"gate": func(random *rand.Rand, from, _ *loot, at *tenant) error {
		cred := from.credentials[random.IntN(len(from.credentials))]
		return refused("gate", at.gate(cred, "X-Forwarded-Host", from.host, "X-Talos-Network", from.id), from)
	},
	"gate, the same key": func(_ *rand.Rand, from, to *loot, at *tenant) error {
		got := at.gate(sharedRawKey, "X-Forwarded-Host", from.host)
		if want := to.actor + " " + to.id + " " + to.id; got.status != http.StatusOK || got.body != want {
			return fmt.Errorf("the same key is %d %s, want %s", got.status, got.body, want)
		}
		return nil
	},
	"verify": func(random *rand.Rand, from, _ *loot, at *tenant) error {
		body := fmt.Sprintf(`{"credential":%q,"network":%q}`,
			from.credentials[random.IntN(len(from.credentials))], from.id)
		got := at.api(http.MethodPost, "admin/apiKeys:verify", body, client.MinPositionHeader, "1")
		if strings.Contains(got.body, `"is_valid":true`) {
			return fmt.Errorf("verify: %s", got.body)
		}
		return silent("verify", got, from)
	},
	"batch": func(random *rand.Rand, from, to *loot, at *tenant) error {
		var items []string
		mine := []bool{}
		for range 1 + random.IntN(10) {
			owner := []*loot{from, to}[random.IntN(2)]
			cred := owner.credentials[random.IntN(len(owner.credentials))]
			items, mine = append(items, fmt.Sprintf(`{"credential":%q}`, cred)), append(mine, owner == to)
		}
		answered := at.api(http.MethodPost, "admin/apiKeys:batchVerify", `{"requests":[`+strings.Join(items, ",")+`]}`)
		out := must[client.BatchVerifyResponse](at, answered)
		for i, result := range out.Results {
			if result.IsValid != mine[i] {
				return fmt.Errorf("batch: item %d is valid: %t, want %t", i, result.IsValid, mine[i])
			}
		}
		return silent("batch", answered, from)
	},
	"read": func(random *rand.Rand, from, _ *loot, at *tenant) error {
		target := []string{"issuedApiKeys/" + from.keyID, "importedApiKeys/" + from.importedID}[random.IntN(2)]
		got := at.api(http.MethodGet, "admin/"+target, "")
		if got.status != http.StatusNotFound {
			return fmt.Errorf("read: %d %s", got.status, got.body)
		}
		return nil
	},
	"change": func(random *rand.Rand, from, _ *loot, at *tenant) error {
		call := [][3]string{
			{http.MethodPatch, "admin/issuedApiKeys/" + from.keyID + "?update_mask=name", `{"name":"stolen"}`},
			{http.MethodPatch, "admin/importedApiKeys/" + from.importedID + "?update_mask=name", `{"name":"stolen"}`},
			{http.MethodPost, "admin/issuedApiKeys/" + from.keyID + ":revoke", `{}`},
			{http.MethodPost, "admin/importedApiKeys/" + from.importedID + ":revoke", `{}`},
			{http.MethodPost, "admin/apiKeys/" + from.keyID + ":revoke?lineage=true", `{}`},
			{http.MethodPost, "admin/issuedApiKeys/" + from.keyID + ":rotate", `{}`},
			{http.MethodPost, "admin/apiKeys/" + from.importedID + ":suspend", ``},
			{http.MethodPost, "admin/apiKeys/" + from.keyID + ":resume", ``},
			{http.MethodDelete, "admin/importedApiKeys/" + from.importedID, ``},
		}[random.IntN(9)]
		got := at.api(call[0], call[1], call[2])
		if got.status != http.StatusNotFound {
			return fmt.Errorf("%s %s: %d %s", call[0], call[1], got.status, got.body)
		}
		return nil
	},
	"derive": func(random *rand.Rand, from, _ *loot, at *tenant) error {
		cred := from.credentials[random.IntN(len(from.credentials))]
		return refused("derive", at.api(http.MethodPost, "admin/apiKeys:derive",
			fmt.Sprintf(`{"credential":%q}`, cred)), from)
	},
	"self-revocation": func(random *rand.Rand, from, _ *loot, at *tenant) error {
		body := fmt.Sprintf(`{"credential":%q}`, from.credentials[random.IntN(len(from.credentials))])
		return refused("self-revocation", at.send(at.addr, at.host, http.MethodPost,
			"/v2alpha1/apiKeys:selfRevoke", body), from)
	},
	"page token": func(_ *rand.Rand, from, _ *loot, at *tenant) error {
		target := "admin/issuedApiKeys?page_size=1&page_token=" + from.pageToken
		return refused("page token", at.api(http.MethodGet, target, ""), from)
	},
	"list": func(_ *rand.Rand, from, _ *loot, at *tenant) error {
		return silent("list", at.api(http.MethodGet, "admin/issuedApiKeys", ""), from)
	},
	"events": func(random *rand.Rand, from, _ *loot, at *tenant) error {
		query := []string{
			"", "?after=1", "?page_size=1", "?filter=" + "key_id%3D%22" + from.keyID + "%22",
		}[random.IntN(4)]
		return silent("events", at.api(http.MethodGet, "admin/events"+query, ""), from)
	},
	"edges": func(_ *rand.Rand, from, _ *loot, at *tenant) error {
		return silent("edges", at.api(http.MethodGet, "admin/edges", ""), from)
	},
	"edges that leave": func(_ *rand.Rand, from, _ *loot, at *tenant) error {
		return silent("an edge of the other network leaves", at.api(http.MethodGet, "admin/events", "",
			client.EdgeIDHeader, from.edge, client.EdgeLeavesHeader, "1"), from)
	},
	"waiting": func(_ *rand.Rand, from, to *loot, at *tenant) error {
		got := at.api(http.MethodPatch, "admin/issuedApiKeys/"+to.keyID+"?update_mask=metadata&wait=0s",
			fmt.Sprintf(`{"metadata":{"n":%d}}`, rand.Int()))
		if got.status != http.StatusOK {
			return fmt.Errorf("waiting: %d %s", got.status, got.body)
		}
		if names := got.header.Get(client.UnconfirmedEdgesHeader); strings.Contains(names, from.edge) {
			return fmt.Errorf("a change waits for %s", names)
		}
		return nil
	},
	"key set": func(_ *rand.Rand, _, to *loot, at *tenant) error {
		own := to.send(to.addr, to.host, http.MethodGet, "/v2alpha1/derivedKeys/jwks.json", "")
		got := at.send(at.addr, at.host, http.MethodGet, "/v2alpha1/derivedKeys/jwks.json", "")
		if got.body != own.body {
			return fmt.Errorf("the key set under %s is another one", at.host)
		}
		return nil
	},
}

// Two networks with the same secrets, issuer, prefixes and signing keys, and with the same imported key. Whoever holds
// everything of one of them tries it in the other, under every spelling of its hosts.
func TestAttack02_AThousandAttemptsAcrossNetworksGetNothing(t *testing.T) {
	n := newTenants(t)
	a := newLoot(n.a(), "alice-of-a", "a.test", "a.internal")
	b := newLoot(n.b(), "bob-of-b", "b.test", "b.internal")
	var kinds []string
	for kind := range crossNetworkAttempts {
		kinds = append(kinds, kind)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 1000 {
		from, to := a, b
		if random.IntN(2) == 0 {
			from, to = b, a
		}
		kind := kinds[i%len(kinds)]
		if err := crossNetworkAttempts[kind](random, from, to, to.at(to.spelled(random))); err != nil {
			t.Errorf("%s, %s to %s: %v", kind, from.host, to.host, err)
		}
	}
	for _, l := range []*loot{a, b} { // nothing has been changed from the other side
		for _, cred := range append([]string{sharedRawKey}, l.credentials...) {
			if got := l.gate(cred); got.status != http.StatusOK || !strings.HasPrefix(got.body, l.actor+" ") {
				t.Errorf("%s: afterwards %d %s", l.host, got.status, got.body)
			}
		}
		edges := must[client.EdgesResponse](l.tenant, l.api(http.MethodGet, "admin/edges", ""))
		found := false
		for _, e := range edges.Edges {
			found = found || e.EdgeID == l.edge
		}
		if !found {
			t.Errorf("%s: its edge was forgotten", l.host)
		}
	}
}

// A client that names another host than it calls, to a server that trusts no proxy, stays in the network that it calls.
func TestAttack14_AForgedForwardedHostIsNotTheNetworks(t *testing.T) {
	n := newTenants(t)
	_, alice := n.a().issueFor("alice")
	for _, header := range []string{
		"X-Forwarded-Host", "X-Forwarded-Server", "X-Original-Host", "Forwarded", "X-Host",
	} {
		value := n.a().host
		if header == "Forwarded" {
			value = "host=" + value
		}
		if got := n.b().gate(alice, header, value); got.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", header, got.status, got.body)
		}
	}
}

// Behind a trusted proxy the host is the one that the proxy names, for the gate and for a recheck of a stream as well.
func TestAttack14_ATrustedProxyNamesTheNetwork(t *testing.T) {
	n := newTenants(t)
	_, alice := n.a().issueFor("alice")
	n.mustLoad("servers {\ntrusted_proxies static 127.0.0.1/32\n}\n"+tenantOptions,
		strings.ReplaceAll(tenantSites, "ADMIN", portOf(n.admin)))
	proxied := &tenant{n, tenantA, "proxy.internal"}
	if got := proxied.gate(alice, "X-Forwarded-Host", "a.test"); got.status != http.StatusOK {
		t.Errorf("its host: %d %s", got.status, got.body)
	}
	if got := proxied.gate(alice); got.status != http.StatusNotFound {
		t.Errorf("no host: %d", got.status)
	}
	for what, headers := range map[string][]string{
		"two hosts":        {"X-Forwarded-Host", "b.test", "X-Forwarded-Host", "a.test"},
		"a list":           {"X-Forwarded-Host", "b.test, a.test"},
		"a host of none":   {"X-Forwarded-Host", "d.test"},
		"an empty host":    {"X-Forwarded-Host", ""},
		"only a forwarded": {"Forwarded", "host=a.test"},
	} {
		if got := proxied.gate(alice, headers...); got.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
	}
}

// The uses of one network's key are not counted for another's with the same raw key.
func TestAttack02_ARateLimitIsOneNetworks(t *testing.T) {
	n := newTenants(t)
	for _, one := range []*tenant{n.a(), n.b()} {
		must[client.ImportedAPIKey](one, one.api(http.MethodPost, "admin/importedApiKeys", fmt.Sprintf(
			`{"raw_key":%q,"name":"n","actor_id":"x",`+
				`"rate_limit_policy":{"quota":"2","unit":"request","window":"3600s"}}`,
			sharedRawKey)))
	}
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		if got := n.a().gate(sharedRawKey); got.status != want {
			t.Errorf("use %d in A: %d, want %d", i+1, got.status, want)
		}
	}
	if got := n.b().gate(sharedRawKey); got.status != http.StatusOK {
		t.Errorf("the first use in B: %d %s", got.status, got.body)
	}
}

// A node in front of keys of its own never mistakes the network of a query, whatever its source is asked.
func TestAttack02_ANetworkThatANodeDoesNotHaveHasNoKeys(t *testing.T) {
	n := newTenants(t)
	_, alice := n.a().issueFor("alice")
	open := embedded(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://a.test", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []core.NetworkID{{}, {1}} {
		result, err := open.Verify(req, id, alice)
		if err != nil || result.Verdict.Code != core.CodeNotFound {
			t.Errorf("network %s: %+v, %v", id, result.Verdict, err)
		}
	}
}
