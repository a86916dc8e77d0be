package adminapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
)

// golden compares an answer with its text, byte for byte. In it, $ID is the key id and $SECRET the secret.
func golden(t *testing.T, w *httptest.ResponseRecorder, status int, id, secret, want string) {
	t.Helper()
	got := strings.NewReplacer(secret, "$SECRET", id, "$ID").Replace(w.Body.String())
	if w.Code != status || got != want+"\n" {
		t.Errorf("got %d\n%swant %d\n%s", w.Code, got, status, want)
	}
}

func TestEveryAnswerIsWrittenAsTheContractSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the clock starts at 2000-01-01T00:00:00Z
		n := newNode(t)
		time.Sleep(time.Hour + 250*time.Millisecond)
		w := apitest.Post(n.admin, issuedPath, `{
			"name":"ci <&>","actor_id":"user-1","scopes":["orders:read","x"],"ttl":"1d",
			"metadata":{"plan": "pro", "n": 1e3},"ip_restriction":{"allowed_cidrs":["192.0.2.0/24","2001:db8::1"]},
			"visibility":"KEY_VISIBILITY_SECRET","request_id":"r-1","unknown":{"a":[1]}}`)
		apitest.WantHeaders(t, w)
		k := issued(t, w)
		id, secret := k.IssuedAPIKey.KeyID, k.Secret
		const record = `"key_id":"$ID","name":"ci <&>","actor_id":"user-1","scopes":["orders:read","x"],` +
			`"metadata":{"plan":"pro","n":1e3},"visibility":"KEY_VISIBILITY_SECRET",`
		const active = record + `"status":"KEY_STATUS_ACTIVE",` +
			`"ip_restriction":{"allowed_cidrs":["192.0.2.0/24","2001:db8::1/128"]},` +
			`"create_time":"2000-01-01T01:00:00.25Z","update_time":"2000-01-01T01:00:00.25Z",` +
			`"expire_time":"2000-01-02T01:00:00.25Z"`
		golden(t, w, 200, id, secret, `{"issued_api_key":{`+active+`},"secret":"$SECRET"}`)

		again := apitest.Post(n.admin, issuedPath, `{"name":"other","actor_id":"user-1","request_id":"r-1"}`)
		golden(t, again, 200, id, secret, `{"issued_api_key":{`+active+`}}`)
		golden(t, apitest.Get(n.admin, issuedPath+"/"+id), 200, id, secret, `{`+active+`}`)

		const verdict = `"key_id":"$ID","actor_id":"user-1","scopes":["orders:read","x"],` +
			`"metadata":{"plan":"pro","n":1e3},"status":"KEY_STATUS_ACTIVE","visibility":"KEY_VISIBILITY_SECRET",` +
			`"expire_time":"2000-01-02T01:00:00.25Z","issuer":"https://issuer.example"}`
		golden(t, apitest.Post(n.admin, anyPath+":verify", `{"credential":"`+secret+`"}`), 200, id, secret,
			`{"is_valid":true,`+verdict)
		n.from(outside)
		golden(t, apitest.Post(n.admin, anyPath+":verify", `{"credential":"`+secret+`"}`), 200, id, secret,
			`{"is_valid":false,"error_code":"VERIFICATION_ERROR_IP_NOT_ALLOWED",`+
				`"error_message":"the key may not be used from this address",`+verdict)
		const unknown = `{"is_valid":false,"error_code":"VERIFICATION_ERROR_NOT_FOUND","error_message":"no such key"}`
		golden(t, apitest.Post(n.admin, anyPath+":verify", `{"credential":"nothing"}`), 200, id, secret, unknown)
		golden(t, apitest.Post(n.admin, anyPath+":batchVerify", `{"requests":[{"credential":"nothing"},{}]}`),
			200, id, secret,
			`{"results":[`+unknown+`,{"is_valid":false,"error_code":"VERIFICATION_ERROR_INVALID_FORMAT",`+
				`"error_message":"the credential cannot be a key or a token"}]}`)

		time.Sleep(time.Second)
		golden(t, apitest.Post(n.admin, issuedPath+"/"+id+":revoke",
			`{"reason":"REVOCATION_REASON_PRIVILEGE_WITHDRAWN","description":"left"}`), 200, id, secret, `{}`)
		golden(t, apitest.Get(n.admin, issuedPath+"/"+id), 200, id, secret, `{`+record+`"status":"KEY_STATUS_REVOKED",`+
			`"ip_restriction":{"allowed_cidrs":["192.0.2.0/24","2001:db8::1/128"]},`+
			`"create_time":"2000-01-01T01:00:00.25Z","update_time":"2000-01-01T01:00:01.25Z",`+
			`"expire_time":"2000-01-02T01:00:00.25Z",`+
			`"revocation_reason":"REVOCATION_REASON_PRIVILEGE_WITHDRAWN","revocation_description":"left"}`)
		golden(t, apitest.Get(n.admin, issuedPath+"/"+unknownUUID), 404, id, secret,
			`{"error":{"code":404,"message":"no such key","status":"NOT_FOUND","details":[{"@type":`+
				`"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_NOT_FOUND",`+
				`"domain":"www.ory.com/talos"}]}}`)

		plain := n.issue(t, "")
		golden(t, apitest.Post(n.publicHandler(), selfRevokePath, `{"credential":"`+plain.Secret+`"}`),
			200, id, secret, `{}`)
		golden(t, apitest.Get(n.admin, issuedPath+"/"+plain.IssuedAPIKey.KeyID),
			200, plain.IssuedAPIKey.KeyID, plain.Secret,
			`{"key_id":"$ID","name":"n","actor_id":"a","visibility":"KEY_VISIBILITY_SECRET",`+
				`"status":"KEY_STATUS_REVOKED","create_time":"2000-01-01T01:00:01.25Z",`+
				`"update_time":"2000-01-01T01:00:01.25Z","revocation_reason":"REVOCATION_REASON_UNSPECIFIED"}`)

		for _, h := range []http.Handler{n.admin, n.publicHandler()} {
			golden(t, apitest.Get(h, alivePath), 200, id, secret, `{"status":"ok"}`)
			golden(t, apitest.Get(h, readyPath), 200, id, secret, `{"status":"ok"}`)
			set := apitest.Get(h, jwksPath)
			keys := strings.TrimSuffix(strings.TrimPrefix(string(apitest.SigningKeys().JWKS()), "{"), "}")
			golden(t, set, 200, id, secret, `{`+keys+`,"jwks":{`+keys+`}}`)
			if c := set.Header().Get("Cache-Control"); c != "public, max-age=60" {
				t.Errorf("the key set has Cache-Control %q", c)
			}
		}
	})
}
