package adminapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

func TestAnEdgeGetsTheWholeVerdictOfTheKeyAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the clock starts at 2000-01-01T00:00:00Z
		n := newNode(t)
		n.from(outside) // from where the key may not be used
		k := n.issue(t, `,"scopes":["x"],"ip_restriction":{"allowed_cidrs":["192.0.2.0/24","2001:db8::1"]}`)
		id, secret := k.IssuedAPIKey.KeyID, k.Secret
		body := `{"credential":"` + secret + `"}`
		const verdict = `"key_id":"$ID","actor_id":"a","scopes":["x"],"status":"KEY_STATUS_ACTIVE",` +
			`"visibility":"KEY_VISIBILITY_SECRET","issuer":"https://issuer.example"`
		const list = `,"ip_restriction":{"allowed_cidrs":["192.0.2.0/24","2001:db8::1/128"]}`

		w := apitest.AsEdge(n.admin, anyPath+":verify", body)
		golden(t, w, 200, id, secret, `{"is_valid":true,`+verdict+list+`}`)
		apitest.WantPosition(t, w, "1")

		w = apitest.AsEdge(n.admin, anyPath+":batchVerify", `{"requests":[`+body+`,{"credential":"nothing"},{}]}`)
		golden(t, w, 200, id, secret, `{"results":[{"is_valid":true,`+verdict+list+`},`+
			`{"is_valid":false,"error_code":"VERIFICATION_ERROR_NOT_FOUND","error_message":"no such key"},`+
			`{"is_valid":false,"error_code":"VERIFICATION_ERROR_INVALID_FORMAT",`+
			`"error_message":"the credential cannot be a key or a token"}]}`)
		apitest.WantPosition(t, w, "1")

		for _, header := range []string{"", "0", "true", "1, 1"} {
			r := apitest.Request(http.MethodPost, anyPath+":verify", body)
			if header != "" {
				r.Header.Set("Talos-Edge", header)
			}
			w = apitest.Serve(n.admin, r)
			golden(t, w, 200, id, secret, `{"is_valid":false,"error_code":"VERIFICATION_ERROR_IP_NOT_ALLOWED",`+
				`"error_message":"the key may not be used from this address",`+verdict+`}`)
			if len(w.Header()["Talos-Edge"])+len(w.Header()["Talos-Position"]) != 0 {
				t.Errorf("Talos-Edge: %q is answered with %v", header, w.Header())
			}
		}

		apitest.Post(n.admin, anyPath+"/"+id+":revoke", "")
		w = apitest.AsEdge(n.admin, anyPath+":verify", body)
		golden(t, w, 200, id, secret, `{"is_valid":false,"error_code":"VERIFICATION_ERROR_REVOKED",`+
			`"error_message":"the key is revoked",`+strings.Replace(verdict, "ACTIVE", "REVOKED", 1)+list+`}`)
		apitest.WantPosition(t, w, "2")
	})
}

// busyVerifier makes a change while it verifies.
type busyVerifier struct {
	Verifier
	change func()
}

func (v *busyVerifier) VerifyMany(
	ctx context.Context, network core.NetworkID, credentials []string, mode verify.Mode,
) []verify.Result {
	v.change()
	return v.Verifier.VerifyMany(ctx, network, credentials, mode)
}

func TestThePositionOfAnAnswerIsTheOneBeforeTheLookUp(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	batch := `{"requests":[{"credential":"` + n.issue(t, "").Secret + `"},{}]}`
	apitest.WantPosition(t, apitest.AsEdge(n.admin, anyPath+":batchVerify", batch), "1")
	n.issue(t, "")
	w := apitest.AsEdge(n.admin, anyPath+":batchVerify", batch) // remembered; no change since is about it
	apitest.WantPosition(t, w, "2")
	w = apitest.AsEdge(n.admin, anyPath+":batchVerify", `{"requests":[{}]}`)
	apitest.WantPosition(t, w, "2") // no key is looked at
	busy := Admin(Options{Network: func(*http.Request) (Network, error) {
		return Network{Keys: n.engine, Verifier: &busyVerifier{n.verifier, func() { n.issue(t, "") }}}, nil
	}})
	apitest.WantPosition(t, apitest.AsEdge(busy, anyPath+":batchVerify", batch), "2")
}

func TestAnEdgeDoesNotGetAStaleVerdictAsAFreshOne(t *testing.T) {
	t.Parallel()
	stale := verify.Result{
		Verdict: &core.Verdict{Code: core.CodeValid, Status: core.StatusActive, KeyID: "k"}, Cache: verify.Stale,
	}
	fresh := stale
	fresh.Cache = verify.Hit
	v := &fixedVerifier{result: stale, results: []verify.Result{stale, fresh}}
	apitest.WantError(t, apitest.AsEdge(v.handler(), anyPath+":verify", `{"credential":"a"}`), 503, core.Unavailable)
	two := `{"requests":[{"credential":"a"},{"credential":"b"}]}`
	w := apitest.AsEdge(v.handler(), anyPath+":batchVerify", two)
	out := apitest.Unmarshal[client.BatchVerifyResponse](t, w.Body.Bytes())
	if out.Results[0].ErrorCode != client.VerificationErrorInternal || !out.Results[1].IsValid {
		t.Errorf("got %+v", out)
	}
	w = apitest.Post(v.handler(), anyPath+":verify", `{"credential":"a"}`)
	if !strings.Contains(w.Body.String(), `"is_valid":true`) {
		t.Errorf("another caller gets %s", w.Body)
	}
}

func TestTheAnswerToAnEdgesChangeNamesAPlaceThatIsNotBeforeIt(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	id := n.issue(t, "").IssuedAPIKey.KeyID
	imported := apitest.Unmarshal[client.ImportedAPIKey](t,
		apitest.Post(n.admin, importedPath, `{"raw_key":"r","name":"n","actor_id":"a"}`).Body.Bytes()).KeyID
	holder := n.issue(t, "").Secret
	for _, call := range []struct{ method, path, body string }{
		{http.MethodPost, issuedPath, `{"name":"n","actor_id":"a"}`},
		{http.MethodPatch, issuedPath + "/" + id, `{"name":"m"}`},
		{http.MethodPost, issuedPath + "/" + id + ":rotate", `{}`},
		{http.MethodPost, issuedPath + "/" + n.issue(t, "").IssuedAPIKey.KeyID + ":revoke", `{}`},
		{http.MethodPost, anyPath + "/" + n.issue(t, "").IssuedAPIKey.KeyID + ":revoke", `{}`},
		{http.MethodPost, importedPath, `{"raw_key":"s","name":"n","actor_id":"a"}`},
		{http.MethodPost, batchPath, `{"requests":[{"raw_key":"t","name":"n","actor_id":"a"}]}`},
		{http.MethodPatch, importedPath + "/" + imported, `{"name":"m"}`},
		{http.MethodPost, importedPath + "/" + imported + ":revoke", `{}`},
		{http.MethodDelete, importedPath + "/" + imported, ""},
		{http.MethodPost, selfRevokePath, `{"credential":"` + holder + `"}`},
	} {
		r := apitest.Request(call.method, call.path, call.body)
		r.Header.Set("Talos-Edge", "1")
		before := n.engine.Applied()
		w := apitest.Serve(n.admin, r)
		if w.Code != http.StatusOK || n.engine.Applied() == before {
			t.Errorf("%s %s: got %d %s, and no change", call.method, call.path, w.Code, w.Body)
		}
		apitest.WantPosition(t, w, strconv.FormatUint(n.engine.Applied(), 10))
	}
	// Nobody else is told, and nothing on the public surface.
	w := apitest.Post(n.admin, issuedPath, `{"name":"n","actor_id":"a"}`)
	holder = n.issue(t, "").Secret
	for _, w := range []*httptest.ResponseRecorder{
		w, apitest.AsEdge(n.publicHandler(), selfRevokePath, `{"credential":"`+holder+`"}`),
	} {
		if w.Code != http.StatusOK || len(w.Header()["Talos-Edge"])+len(w.Header()["Talos-Position"]) != 0 {
			t.Errorf("got %d with %v", w.Code, w.Header())
		}
	}
}
