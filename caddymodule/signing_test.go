package caddymodule_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/core/engine"
)

// newSigningKeys makes a JWK Set of new Ed25519 keys with these kids.
func newSigningKeys(t testing.TB, kids ...string) []byte {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, kid := range kids {
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: private, KeyID: kid})
	}
	return marshal(t, set)
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// inline writes signing keys as they stand in a configuration.
func inline(set []byte) string { return "base64://" + base64.StdEncoding.EncodeToString(set) }

// pick makes a JWK Set of some keys of another. Of one that is marked with a hyphen only the public part is left.
func pick(t testing.TB, set []byte, kids ...string) []byte {
	t.Helper()
	var all, some jose.JSONWebKeySet
	if err := json.Unmarshal(set, &all); err != nil {
		t.Fatal(err)
	}
	for _, kid := range kids {
		name, retired := strings.CutPrefix(kid, "-")
		found := all.Key(name)
		if len(found) != 1 {
			t.Fatalf("no key %s", name)
		}
		key := found[0]
		if retired {
			key = key.Public()
		}
		some.Keys = append(some.Keys, key)
	}
	return marshal(t, some)
}

func TestASigningKeyThatIsDroppedEndsItsTokens(t *testing.T) {
	e := startEdge(t, edgeConfig{})
	all := newSigningKeys(t, "a", "b")
	file := filepath.Join(e.folder, "jwks.json")
	_, key := e.issue(engine.IssueRequest{})
	load := func(active string, kids ...string) {
		t.Helper()
		if err := os.WriteFile(file, pick(t, all, kids...), 0o600); err != nil {
			t.Fatal(err)
		}
		e.load(edgeConfig{Talos: "signing_keys FOLDER/jwks.json " + active})
	}
	tokens := map[string]string{}
	check := func(when string, good ...string) {
		t.Helper()
		for range 2 {
			for kid, token := range tokens {
				want := http.StatusUnauthorized
				if slices.Contains(good, kid) {
					want = http.StatusOK
				}
				if got := e.get("/", "Authorization", "Bearer "+token); got.status != want {
					t.Errorf("%s: a token of %s: %d, want %d", when, kid, got.status, want)
				}
			}
		}
		if got := e.get("/", "Authorization", "Bearer "+key); got.status != http.StatusOK {
			t.Errorf("%s: the key itself: %d", when, got.status)
		}
	}
	load("a", "a", "b")
	tokens["a"] = e.derive(engine.DeriveRequest{Credential: key})
	check("with both", "a")
	load("b", "b", "-a")
	tokens["b"] = e.derive(engine.DeriveRequest{Credential: key})
	check("with a retired", "a", "b")
	load("", "b")
	check("without a", "b")
	load("", "a")
	check("without b", "a")
	for token, kid := range map[string]string{tokens["a"]: `"kid":"a"`, tokens["b"]: `"kid":"b"`} {
		header, err := base64.RawURLEncoding.DecodeString(token[:strings.IndexByte(token, '.')])
		if err != nil || !strings.Contains(string(header), kid) {
			t.Errorf("got the header %s, want %s (%v)", header, kid, err)
		}
	}
	e.load(edgeConfig{Talos: "signing_keys " + inline(pick(t, all, "a"))})
	check("with the same key in the configuration", "a")
}

func TestRetiredIssuersAndMacaroonPrefixesStillVerify(t *testing.T) {
	keys := "signing_keys " + inline(newSigningKeys(t, "a")) + "\n"
	e := startEdge(t, edgeConfig{Talos: keys + "issuer https://old.example\nmacaroon_prefix oldmc"})
	_, key := e.issue(engine.IssueRequest{})
	jwt := e.derive(engine.DeriveRequest{Credential: key})
	macaroon := e.derive(engine.DeriveRequest{Credential: key, Algorithm: engine.AlgorithmMacaroon})
	if !strings.HasPrefix(macaroon, "oldmc_v1_") {
		t.Errorf("got the macaroon %.20s", macaroon)
	}
	check := func(when string, wantJWT, wantMacaroon int) {
		t.Helper()
		for token, want := range map[string]int{jwt: wantJWT, macaroon: wantMacaroon} {
			if got := e.get("/", "Authorization", "Bearer "+token); got.status != want {
				t.Errorf("%s: %.9s: %d, want %d", when, token, got.status, want)
			}
		}
	}
	check("at first", 200, 200)
	e.load(edgeConfig{Talos: keys + "issuer https://new.example https://old.example\nmacaroon_prefix newmc oldmc"})
	check("retired", 200, 200)
	e.load(edgeConfig{Talos: keys + "issuer https://new.example https://old.example\nmacaroon_prefix newmc"})
	check("without the prefix", 200, 401)
	e.load(edgeConfig{Talos: keys + "issuer https://new.example\nmacaroon_prefix newmc oldmc"})
	check("without the issuer", 401, 401)
}

func TestAGeneratedSigningKeyIsKeptAndPublished(t *testing.T) {
	s := newSolo(t)
	const talos, jwks = "talos {\nstorage sqlite://FOLDER/talos.db\n}", "/v2alpha1/derivedKeys/jwks.json"
	sites := onlyAdmin + "\nhttp://:PUBLIC {\nbind 127.0.0.1\ntalos_public\n}"
	public := freeport.Addr(t)
	sites = strings.ReplaceAll(sites, "PUBLIC", portOf(public))
	s.mustLoad(talos, sites)
	_, secret := s.issue()
	made := (&sidecar{solo: s}).call(
		http.MethodPost, s.addr, "/v2alpha1/admin/apiKeys:derive", `{"credential":"`+secret+`"}`)
	var derived struct{ Token struct{ Token string } }
	if err := json.Unmarshal([]byte(made.body), &derived); err != nil || made.status != http.StatusOK {
		t.Fatalf("deriving: %d %s", made.status, made.body)
	}
	first := (&sidecar{solo: s}).call(http.MethodGet, public, jwks, "")
	s.stop()
	s.mustLoad(talos, sites)
	if got := s.gated(derived.Token.Token); got.status != http.StatusOK {
		t.Errorf("the token after a restart: %d %s", got.status, got.body)
	}
	for _, addr := range []string{public, s.addr} {
		again := (&sidecar{solo: s}).call(http.MethodGet, addr, jwks, "")
		var set struct {
			Keys []map[string]string
			JWKS struct{ Keys []map[string]string }
		}
		if err := json.Unmarshal([]byte(again.body), &set); err != nil || again.body != first.body ||
			len(set.Keys) != 1 || len(set.JWKS.Keys) != 1 || set.Keys[0]["crv"] != "Ed25519" {
			t.Errorf("the key set: %d %s, at first %s (%v)", again.status, again.body, first.body, err)
		} else if set.Keys[0]["d"] != "" || set.Keys[0]["kid"] == "" {
			t.Errorf("the key set shows %s", again.body)
		}
	}
}

func TestAFileWithoutSigningKeysIsRefused(t *testing.T) {
	e := startEdge(t, edgeConfig{})
	_, key := e.issue(engine.IssueRequest{})
	set := newSigningKeys(t, "a")
	for name, content := range map[string][]byte{
		"none.json":   nil,
		"empty.json":  {},
		"broken.json": set[:len(set)-9],
		"public.json": pick(t, set, "-a"),
		"large.json":  slices.Concat(set, []byte(strings.Repeat(" ", 1<<20))),
	} {
		if content != nil {
			if err := os.WriteFile(filepath.Join(e.folder, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := e.tryLoad(edgeConfig{Talos: "signing_keys FOLDER/" + name})
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "_", " "), "signing key") {
			t.Errorf("%s: got %v", name, err)
		} else if strings.Contains(err.Error(), privatePart(t, set)) {
			t.Errorf("%s: the error holds the key: %v", name, err)
		}
		if got := e.get("/", "Authorization", "Bearer "+key); got.status != http.StatusOK {
			t.Errorf("%s: the key behind it: %d", name, got.status)
		}
	}
}

func privatePart(t *testing.T, set []byte) string {
	t.Helper()
	var parsed struct{ Keys []map[string]string }
	if err := json.Unmarshal(set, &parsed); err != nil || parsed.Keys[0]["d"] == "" {
		t.Fatalf("no private part (%v)", err)
	}
	return parsed.Keys[0]["d"]
}
