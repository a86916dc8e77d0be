package caddymodule_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"gopkg.in/macaroon.v2"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/verify"
)

// segment writes a part of a JWT.
func segment(part []byte) string { return base64.RawURLEncoding.EncodeToString(part) }

// forger makes JWTs of any header and payload. It holds the node's own key, as nobody does.
type forger struct {
	t       *testing.T
	key     ed25519.PrivateKey
	header  string // of a good token
	payload string // of a good token
}

// sign makes a token with a signature that is right.
func (f *forger) sign(header, payload string) string {
	text := segment([]byte(header)) + "." + segment([]byte(payload))
	return text + "." + segment(ed25519.Sign(f.key, []byte(text)))
}

// mac makes a token with an HMAC.
func (f *forger) mac(header, secret string) string {
	text := segment([]byte(header)) + "." + segment([]byte(f.payload))
	h := hmac.New(sha256.New, []byte(secret))
	_, _ = h.Write([]byte(text))
	return text + "." + segment(h.Sum(nil))
}

// with returns the good payload with one claim changed; nil takes it out.
func (f *forger) with(name string, value any) string {
	f.t.Helper()
	var claims map[string]any
	if err := json.Unmarshal([]byte(f.payload), &claims); err != nil {
		f.t.Fatal(err)
	}
	claims[name] = value
	if value == nil {
		delete(claims, name)
	}
	return string(marshal(f.t, claims))
}

// public is the node's public key, in the forms that a confused verifier would take for a secret.
func (f *forger) public() (raw, inPEM string) {
	f.t.Helper()
	public, ok := f.key.Public().(ed25519.PublicKey)
	if !ok {
		f.t.Fatal("not a public key")
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(public), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// newForger takes a good token and the node's keys to pieces.
func newForger(t *testing.T, set []byte, token string) *forger {
	t.Helper()
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(set, &keys); err != nil {
		t.Fatal(err)
	}
	key, ok := keys.Keys[0].Key.(ed25519.PrivateKey)
	parts := strings.Split(token, ".")
	if !ok || len(parts) != 3 {
		t.Fatalf("a %T and a token of %d parts", keys.Keys[0].Key, len(parts))
	}
	f := &forger{t: t, key: key}
	for i, to := range []*string{&f.header, &f.payload} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		*to = string(text)
	}
	return f
}

// refuses sends each token twice. None may be admitted, tell why, reach the app, or, if it has the form of a token,
// reach the storage.
func refuses(t *testing.T, e *edge, ofForm bool, tokens map[string]string) {
	t.Helper()
	lookUps := func() uint64 { return e.node().Verifier().Stats().Requests[verify.Miss] }
	before, asked := lookUps(), e.backend.requests()
	for name, token := range tokens {
		for range 2 {
			got := e.get("/", "Authorization", "Bearer "+token)
			if got.status != http.StatusUnauthorized || got.reason() != "UNKNOWN_CREDENTIAL" ||
				got.header.Get("Www-Authenticate") != `Bearer realm="api", error="invalid_token"` {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
		}
	}
	if n := e.backend.requests() - asked; n != 0 {
		t.Errorf("the app was asked %d times", n)
	}
	if n := lookUps() - before; ofForm && n != 0 {
		t.Errorf("the storage was asked %d times", n)
	}
}

func TestAttack17_ForgedJWTsAreRefusedAtTheGate(t *testing.T) {
	set, foreign := newSigningKeys(t, "ours"), newSigningKeys(t, "ours")
	e := startEdge(t, edgeConfig{Talos: "issuer https://a.example\nsigning_keys " + inline(set)})
	_, key := e.issue(engine.IssueRequest{})
	f := newForger(t, set, e.derive(engine.DeriveRequest{Credential: key}))
	other := newForger(t, foreign, e.derive(engine.DeriveRequest{Credential: key}))
	if got := e.get("/", "Authorization", "Bearer "+f.sign(f.header, f.payload)); got.status != http.StatusOK {
		t.Fatalf("what the forger signs as it is: %d %s", got.status, got.body)
	}
	raw, inPEM := f.public()
	now := time.Now().Unix()
	jwk := string(pick(t, foreign, "-ours"))
	jwk = strings.TrimSuffix(strings.TrimPrefix(jwk, `{"keys":[`), "]}")
	header := func(more string) string { return strings.TrimSuffix(f.header, "}") + "," + more + "}" }
	refuses(t, e, true, map[string]string{
		"no alg":                     f.sign(`{"kid":"ours"}`, f.payload),
		"HS256 with the public key":  f.mac(`{"alg":"HS256","kid":"ours"}`, raw),
		"HS256 with the PEM":         f.mac(`{"alg":"HS256","kid":"ours"}`, inPEM),
		"the key under another alg":  f.sign(`{"alg":"RS256","kid":"ours"}`, f.payload),
		"another key of the kid":     other.sign(f.header, f.payload),
		"a foreign kid":              f.sign(`{"alg":"EdDSA","kid":"theirs"}`, f.payload),
		"no kid":                     f.sign(`{"alg":"EdDSA"}`, f.payload),
		"two kids":                   f.sign(header(`"kid":"ours"`), f.payload),
		"an embedded jwk":            other.sign(header(`"jwk":`+jwk), f.payload),
		"an embedded jwk of no use":  f.sign(header(`"jwk":`+jwk), f.payload),
		"a jku":                      f.sign(header(`"jku":"http://127.0.0.1/jwks"`), f.payload),
		"an x5u":                     f.sign(header(`"x5u":"http://127.0.0.1/x"`), f.payload),
		"crit":                       f.sign(header(`"crit":["exp"]`), f.payload),
		"crit of nothing":            f.sign(header(`"crit":[]`), f.payload),
		"b64":                        f.sign(header(`"b64":false`), f.payload),
		"another issuer":             f.sign(f.header, f.with("iss", "https://b.example")),
		"the issuer with a slash":    f.sign(f.header, f.with("iss", "https://a.example/")),
		"no issuer":                  f.sign(f.header, f.with("iss", nil)),
		"another network":            f.sign(f.header, f.with("nid", "550e8400-e29b-41d4-a716-446655440001")),
		"no network":                 f.sign(f.header, f.with("nid", nil)),
		"an audience":                f.sign(f.header, f.with("aud", "https://a.example")),
		"a huge exp":                 f.sign(f.header, f.with("exp", int64(1)<<62)),
		"an exp beyond a float":      f.sign(f.header, strings.Replace(f.payload, `"exp":`, `"exp":1e400,"x":`, 1)),
		"no exp":                     f.sign(f.header, f.with("exp", nil)),
		"expired beyond the leeway":  f.sign(f.header, f.with("exp", now-301)),
		"not yet, beyond the leeway": f.sign(f.header, f.with("nbf", now+360)),
		"from the future":            f.sign(f.header, f.with("iat", now+360)),
		"a claim twice":              f.sign(f.header, strings.TrimSuffix(f.payload, "}")+`,"scp":["*"]}`),
		"a claim twice, escaped":     f.sign(f.header, strings.TrimSuffix(f.payload, "}")+`,"s\u0063p":["*"]}`),
		"a scope that is none":       f.sign(f.header, f.with("scp", []string{"a b"})),
		"a list that is none":        f.sign(f.header, f.with("acl", []string{"everywhere"})),
		"a payload of null":          f.sign(f.header, "null"),
		"another signature's bits":   f.sign(f.header, f.payload)[:30] + "A" + f.sign(f.header, f.payload)[31:],
	})
	refuses(t, e, false, map[string]string{ // to the gate these are keys that somebody may have imported
		"alg none":      segment([]byte(`{"alg":"none","kid":"ours"}`)) + "." + segment([]byte(f.payload)) + ".",
		"alg nOnE":      segment([]byte(`{"alg":"nOnE","kid":"ours"}`)) + "." + segment([]byte(f.payload)) + ".",
		"padding":       f.sign(f.header, f.payload) + "==",
		"a fourth part": f.sign(f.header, f.payload) + ".x",
	})
}

func TestAttack17_HoldersCannotWidenMacaroons(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: scopedSite, Global: "servers {\ntrusted_proxies static 127.0.0.0/8\n}"})
	_, key := e.issue(engine.IssueRequest{Scopes: []string{"a", "b"}, AllowedCIDRs: cidrs(t, "127.0.0.0/8")})
	made := e.derive(engine.DeriveRequest{
		Credential: key, Algorithm: engine.AlgorithmMacaroon, Scopes: []string{"a"},
		Client: cidrs(t, "127.0.0.1")[0].Addr(),
	})
	if got := e.get("/a/", "Authorization", "Bearer "+made); got.status != http.StatusOK {
		t.Fatalf("as it was made: %d %s", got.status, got.body)
	}
	caveat := func(list ...string) string {
		t.Helper()
		made, err := credential.AppendCaveats(made, list...)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	for name, wide := range map[string]string{
		"a scope more":          caveat("scopes=a b"),
		"a wildcard":            caveat("scopes=*"),
		"narrower, then wider":  caveat("scopes=", "scopes=a b"),
		"a range more":          caveat("cidrs=0.0.0.0/0,::/0"),
		"a longer lifetime":     caveat("expires=2999-01-01T00:00:00Z"),
		"all of them, repeated": caveat("scopes=*", "cidrs=0.0.0.0/0", "scopes=*", "expires=2999-01-01T00:00:00Z"),
	} {
		for _, from := range []string{"127.0.0.1", "203.0.113.7"} {
			got := e.get("/b/", "Authorization", "Bearer "+wide, "X-Forwarded-For", from)
			if got.status != http.StatusForbidden {
				t.Errorf("%s, from %s: %d", name, from, got.status)
			}
		}
		got := e.get("/", "Authorization", "Bearer "+wide, "X-Forwarded-For", "203.0.113.7")
		if got.status != http.StatusForbidden {
			t.Errorf("%s, from elsewhere: %d", name, got.status)
		}
	}
	_, bare, _ := strings.Cut(made, "_v1_")
	tokens := map[string]string{
		"an unknown caveat":      caveat("user=root"),
		"a caveat of nothing":    caveat(""),
		"a caveat in other case": caveat("Scopes=a"),
		"a time that is none":    caveat("expires=soon"),
		"ranges that are none":   caveat("cidrs=everywhere"),
		"an empty range":         caveat("cidrs="),
		"scopes with a comma":    caveat(`scopes=a "b"`),
		"second claims":          caveat(`claims={"scp":["*"]}`),
		"a thousand caveats":     "mc_v1_" + overloaded(t, bare),
		"cut short":              made[:len(made)-3],
		"something behind it":    made + "AAAA",
		"padding":                made + "=",
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := len("mc_v1_"); i < len(made); i += 5 { // another bit each time
		at := strings.IndexByte(alphabet, made[i])
		tokens["bits of digit "+made[:i]] = made[:i] + string(alphabet[at^(1<<(i%6))]) + made[i+1:]
	}
	refuses(t, e, true, tokens)
	refuses(t, e, false, map[string]string{"another prefix": "zz_v1_" + bare, "no prefix": bare})
}

// overloaded appends a thousand caveats to a macaroon, each of which holds.
func overloaded(t *testing.T, bare string) string {
	t.Helper()
	binary, err := base64.RawURLEncoding.DecodeString(bare)
	if err != nil {
		t.Fatal(err)
	}
	var m macaroon.Macaroon
	if err := m.UnmarshalBinary(binary); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if err := m.AddFirstPartyCaveat([]byte("scopes=a")); err != nil {
			t.Fatal(err)
		}
	}
	if binary, err = m.MarshalBinary(); err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString(binary)
	if len(text) >= credential.MaxLength {
		t.Fatalf("%d digits are too many for anybody to count the caveats", len(text))
	}
	return text
}

func TestAttack18_ATokenStandsForNoMoreThanItsKey(t *testing.T) {
	keys := newSigningKeys(t, "a")
	e := startEdge(t, edgeConfig{Talos: "public_prefix pub\nsigning_keys " + inline(keys)})
	id, key := e.issue(engine.IssueRequest{})
	_, public := e.issue(engine.IssueRequest{Visibility: core.VisibilityPublic})
	for name, algorithm := range algorithms {
		// A token of a public key is a public credential.
		token := e.derive(engine.DeriveRequest{Credential: public, Algorithm: algorithm})
		if got := e.get("/", "Authorization", "Bearer "+token); got.status != http.StatusForbidden {
			t.Errorf("a %s of a public key where a secret one is required: %d", name, got.status)
		}
		// A token is no key: it can neither be derived from nor revoked.
		token = e.derive(engine.DeriveRequest{Credential: key, Algorithm: algorithm})
		got := e.call(e.admin, "admin/apiKeys:derive", `{"credential":"`+token+`"}`)
		if got.reason() != "INVALID_TOKEN_TYPE" {
			t.Errorf("a token of a %s: %d %s", name, got.status, got.body)
		}
		got = e.call(e.admin, "apiKeys:selfRevoke", `{"credential":"`+token+`"}`)
		if got.reason() != "DERIVED_TOKEN_NOT_REVOCABLE" {
			t.Errorf("a revocation by a %s: %d %s", name, got.status, got.body)
		}
		if got := e.get("/", "Authorization", "Bearer "+token); got.status != http.StatusOK {
			t.Errorf("the %s after that: %d", name, got.status)
		}
	}
	// A token of another node of the same issuer, with other secrets, on a key id that this node has.
	f := newForger(t, newSigningKeys(t, "a"), e.derive(engine.DeriveRequest{Credential: key}))
	foreign := foreignMacaroon(t, id)
	refuses(t, e, true, map[string]string{
		"a JWT under other keys":          f.sign(f.header, f.payload),
		"a macaroon under another secret": foreign,
	})
	for name, text := range map[string]string{
		"the key's id": id, "the token's claims": segment([]byte(f.payload)), "an id as a macaroon": "mc_v1_" + id,
		"an imported key's id": credential.ImportedKeyID(core.NetworkID{}, id),
	} {
		got := e.get("/", "Authorization", "Bearer "+text)
		if got.status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got.status)
		}
	}
}

// foreignMacaroon is a macaroon for a key, made with another secret than the node's.
func foreignMacaroon(t *testing.T, keyID string) string {
	t.Helper()
	keyring, err := credential.NewKeyring(strings.Repeat("x", credential.MinSecretLength))
	if err != nil {
		t.Fatal(err)
	}
	format, err := credential.NewFormat(core.NetworkID{}, keyring, credential.Prefixes{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	macaroon, err := format.MintMacaroon(&credential.Claims{
		Issuer: engine.DefaultIssuer, KeyID: keyID, TokenID: "1", ActorID: "someone",
		IssueTime: now, NotBefore: now, ExpireTime: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return macaroon
}
