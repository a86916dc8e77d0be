package caddymodule_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/core/engine"
)

// redactedLog are the options of a log that shows no credential, at the level at which the most is logged.
const redactedLog = `
	level DEBUG
	format talos_redact json
`

// TestNoCredentialInAnyLogMetricOrError runs the whole lifecycle of keys at debug level, with the app up and down and
// with the storage closed, and searches everything that was written.
func TestNoCredentialInAnyLogMetricOrError(t *testing.T) {
	const sources = "from header Authorization Bearer\nfrom header X-Api-Key\nfrom query api_key\nfrom cookie key\n"
	signing := newSigningKeys(t, "a")
	conf := edgeConfig{
		Talos:  "signing_keys " + inline(signing),
		Global: "metrics\nlog default {\noutput file FOLDER/default.log" + redactedLog + "}",
		Site: "log {\noutput file FOLDER/access.log" + redactedLog + "}\n" + `
			talos_public
			handle /metrics {
				metrics
			}
			handle /keep/* {
				talos_gate {
					` + sources + `
					keep_credential
				}
				reverse_proxy BACKEND
			}
			handle /scoped/* {
				talos_gate {
					` + sources + `
					scopes admin
				}
				reverse_proxy BACKEND
			}
			handle {
				talos_gate {
					` + sources + `
				}
				reverse_proxy BACKEND
			}`,
	}
	e := startEdge(t, conf)
	shown := e.call(e.admin, "admin/issuedApiKeys", `{"name":"a","actor_id":"someone"}`)
	var issued struct {
		Secret       string `json:"secret"`
		IssuedAPIKey struct {
			KeyID string `json:"key_id"`
		} `json:"issued_api_key"`
	}
	if err := json.Unmarshal([]byte(shown.body), &issued); err != nil || issued.Secret == "" {
		t.Fatalf("issuing: %d %v", shown.status, err)
	}
	_, second := e.issue(engine.IssueRequest{})
	_, third := e.issue(engine.IssueRequest{AllowedCIDRs: cidrs(t, "203.0.113.0/24")})
	forged := issued.Secret[:len(issued.Secret)-3] + "zzz"
	credentials := []string{
		issued.Secret, second, third, forged, "sk_live_imported_4242",
		e.derive(engine.DeriveRequest{Credential: issued.Secret}),
		e.derive(engine.DeriveRequest{Credential: issued.Secret, Algorithm: engine.AlgorithmMacaroon}),
	}
	secrets := append(slices.Clone(credentials), testSecret, privatePart(t, signing))

	var answers bytes.Buffer // of the gated site: a client's credential is not told back
	flow := func() {
		for _, path := range []string{"/", "/keep/", "/scoped/"} {
			for _, key := range credentials {
				for _, got := range []answer{
					e.get(path, "Authorization", "Bearer "+key),
					e.get(path, "X-Api-Key", key),
					e.get(path+"?a=b&api_key="+key, "Authorization", "Basic eDp5"),
					e.get(path, "Cookie", "key="+key),
					e.get(path, "X-Api-Key", key, "Authorization", "Bearer "+second),
					e.get(path, "Authorization", "Bearer "+key+", Bearer "+second),
				} {
					if got.status != http.StatusOK {
						answers.WriteString(got.body)
						_ = got.header.Write(&answers)
					}
				}
			}
		}
		for _, key := range credentials {
			e.call(e.admin, "admin/apiKeys:verify", `{"credential":"`+key+`"}`)
			e.call(e.admin, "admin/apiKeys:batchVerify", `{"requests":[{"credential":"`+key+`"},{"credential":"x"}]}`)
			e.call(e.admin, "admin/apiKeys:verify", `{"credential":{"`+key+`":1}}`)
			e.call(e.addr, "apiKeys:selfRevoke", `{"credential":"`+key+`","reason":"nonsense"}`)
			e.call(e.admin, "admin/apiKeys:derive", `{"credential":"`+key+`","scopes":["nonsense"]}`)
			e.call(e.addr, "admin/apiKeys:verify", `{"credential":"`+key+`"}`)
		}
	}
	flow()
	conf.Talos += "\ncache off"
	e.load(conf)
	flow()
	e.backend.server.Close()
	flow() // 502 of the proxy
	e.call(e.addr, "apiKeys:selfRevoke", `{"credential":"`+second+`"}`)
	e.revoke(issued.IssuedAPIKey.KeyID)
	flow() // 401
	if err := e.node().Store.Close(); err != nil {
		t.Fatal(err)
	}
	flow() // 503
	metrics := e.get("/metrics").body
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}

	written := map[string]string{"metrics": metrics, "answers": answers.String()}
	for _, name := range []string{"default.log", "access.log"} {
		text, err := os.ReadFile(filepath.Join(e.folder, name))
		if err != nil {
			t.Fatal(err)
		}
		written[name] = string(text)
	}
	for name, marks := range map[string][]string{
		"default.log": {
			"request denied", "upstream roundtrip", `"status":502`, `"reason":"unavailable"`,
			issued.IssuedAPIKey.KeyID,
		},
		"access.log": {"handled request", `"status":503`, `"user_id":"` + issued.IssuedAPIKey.KeyID},
		"metrics":    {"talos_gate_decisions_total", `reason="ambiguous"`},
		"answers":    {"UNKNOWN_CREDENTIAL", "SERVICE_UNAVAILABLE"},
	} {
		for _, mark := range marks {
			if !strings.Contains(written[name], mark) {
				t.Errorf("%s has no %s, so not everything was searched", name, mark)
			}
		}
	}
	for name, text := range written {
		for i, secret := range secrets {
			for form, spelled := range spellings(secret) {
				if at := strings.Index(text, spelled); at >= 0 {
					t.Errorf("%s has secret %d (%s): %.600s", name, i, form, text[max(0, at-300):])
				}
			}
		}
	}
}

// spellings are the forms in which a secret might be written, whole or by the part that makes it one.
func spellings(secret string) map[string]string {
	parts := map[string]string{"whole": secret}
	if tail := secret[strings.LastIndexByte(secret, '_')+1:]; len(tail) >= 16 { // a shorter one may occur anywhere
		parts["checksum"] = tail
	}
	forms := map[string]string{}
	for part, s := range parts {
		forms[part] = s
		forms[part+", escaped"] = url.QueryEscape(s)
		forms[part+", hex"] = hex.EncodeToString([]byte(s))
		for shift := range 3 { // base64 of a text that contains it anywhere
			encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + s))
			forms[part+", base64"+strings.Repeat("'", shift)] = encoded[4 : len(encoded)-4]
			encoded = base64.URLEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + s))
			forms[part+", base64url"+strings.Repeat("'", shift)] = encoded[4 : len(encoded)-4]
		}
	}
	return forms
}
