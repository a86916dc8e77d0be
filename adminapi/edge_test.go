package adminapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// asEdge asks as an edge does.
func asEdge(h http.Handler, path, body string) *httptest.ResponseRecorder {
	r := request(http.MethodPost, path, body)
	r.Header.Set("Talos-Edge", "1")
	return serve(h, r)
}

func wantMark(t *testing.T, w *httptest.ResponseRecorder, position string) {
	t.Helper()
	if edge, at := w.Header().Get("Talos-Edge"), w.Header().Get("Talos-Position"); edge != "1" || at != position {
		t.Errorf("got Talos-Edge %q at %q, want 1 at %q", edge, at, position)
	}
}

func TestAnEdgeGetsTheWholeVerdictOfTheKeyAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the clock stands at 2000-01-01T00:00:00Z
		n := newNode(t)
		n.from(outside) // from where the key may not be used
		k := n.issue(t, `,"scopes":["x"],"ip_restriction":{"allowed_cidrs":["192.0.2.0/24","2001:db8::1"]}`)
		id, secret := k.IssuedAPIKey.KeyID, k.Secret
		body := `{"credential":"` + secret + `"}`
		const verdict = `"key_id":"$ID","actor_id":"a","scopes":["x"],"status":"KEY_STATUS_ACTIVE",` +
			`"visibility":"KEY_VISIBILITY_SECRET","issuer":"https://issuer.example"`
		const list = `,"ip_restriction":{"allowed_cidrs":["192.0.2.0/24","2001:db8::1/128"]}`

		w := asEdge(n.admin, anyPath+":verify", body)
		golden(t, w, 200, id, secret, `{"is_valid":true,`+verdict+list+`}`)
		wantMark(t, w, "1")

		w = asEdge(n.admin, anyPath+":batchVerify", `{"requests":[`+body+`,{"credential":"nothing"},{}]}`)
		golden(t, w, 200, id, secret, `{"results":[{"is_valid":true,`+verdict+list+`},`+
			`{"is_valid":false,"error_code":"VERIFICATION_ERROR_NOT_FOUND","error_message":"no such key"},`+
			`{"is_valid":false,"error_code":"VERIFICATION_ERROR_INVALID_FORMAT",`+
			`"error_message":"the credential cannot be a key or a token"}]}`)
		wantMark(t, w, "1")

		for _, header := range []string{"", "0", "true", "1, 1"} {
			r := request(http.MethodPost, anyPath+":verify", body)
			if header != "" {
				r.Header.Set("Talos-Edge", header)
			}
			w = serve(n.admin, r)
			golden(t, w, 200, id, secret, `{"is_valid":false,"error_code":"VERIFICATION_ERROR_IP_NOT_ALLOWED",`+
				`"error_message":"the key may not be used from this address",`+verdict+`}`)
			if len(w.Header()["Talos-Edge"])+len(w.Header()["Talos-Position"]) != 0 {
				t.Errorf("Talos-Edge: %q is answered with %v", header, w.Header())
			}
		}

		post(n.admin, anyPath+"/"+id+":revoke", "")
		w = asEdge(n.admin, anyPath+":verify", body)
		golden(t, w, 200, id, secret, `{"is_valid":false,"error_code":"VERIFICATION_ERROR_REVOKED",`+
			`"error_message":"the key is revoked",`+strings.Replace(verdict, "ACTIVE", "REVOKED", 1)+list+`}`)
		wantMark(t, w, "2")
	})
}

func TestThePositionOfABatchIsThatOfItsOldestResult(t *testing.T) {
	t.Parallel()
	at := func(position uint64) verify.Result {
		return verify.Result{Verdict: core.Unknown(core.NetworkID{}, "k", 0), Position: position, Cache: verify.Hit}
	}
	failed := verify.Result{Err: errDown()}
	for _, tc := range []struct {
		results []verify.Result
		want    string
	}{
		{[]verify.Result{at(9), at(4), at(7)}, "4"},
		{[]verify.Result{failed, at(5), at(6)}, "5"},
		{[]verify.Result{at(3), failed, at(0)}, "0"},
	} {
		v := &fixedVerifier{results: tc.results}
		w := asEdge(v.handler(), anyPath+":batchVerify", `{"requests":[{"credential":"a"},{"credential":"b"},{"credential":"c"}]}`)
		wantMark(t, w, tc.want)
	}
	w := asEdge((&fixedVerifier{}).handler(), anyPath+":batchVerify", `{"requests":[{}]}`)
	wantMark(t, w, "0") // no key was looked at
}

func TestAnEdgeDoesNotGetAStaleVerdictAsAFreshOne(t *testing.T) {
	t.Parallel()
	stale := verify.Result{
		Verdict: &core.Verdict{Code: core.CodeValid, Status: core.StatusActive, KeyID: "k"}, Cache: verify.Stale,
	}
	fresh := stale
	fresh.Cache = verify.Hit
	v := &fixedVerifier{result: stale, results: []verify.Result{stale, fresh}}
	wantError(t, asEdge(v.handler(), anyPath+":verify", `{"credential":"a"}`), 503, core.Unavailable)
	two := `{"requests":[{"credential":"a"},{"credential":"b"}]}`
	out := unmarshal[client.BatchVerifyResponse](t, asEdge(v.handler(), anyPath+":batchVerify", two).Body.Bytes())
	if out.Results[0].ErrorCode != client.VerificationErrorInternal || !out.Results[1].IsValid {
		t.Errorf("got %+v", out)
	}
	if w := post(v.handler(), anyPath+":verify", `{"credential":"a"}`); !strings.Contains(w.Body.String(), `"is_valid":true`) {
		t.Errorf("another caller gets %s", w.Body)
	}
}
