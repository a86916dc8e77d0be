package adminapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/verify"
)

func TestVerifyWithoutACredentialIsRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, body := range []string{"", "{}", `{"credential":""}`, `{"credential":null}`, `{"credentials":"x"}`} {
		apitest.WantError(t, apitest.Post(n.admin, anyPath+":verify", body),
			http.StatusBadRequest, core.CredentialRequired)
	}
}

// forgeries are credentials that must all read the same: a caller must not learn how close it came.
func forgeries(t *testing.T, n *node) map[string]string {
	t.Helper()
	k := n.issue(t, "")
	secret := k.Secret
	cut := strings.LastIndexByte(secret, '_') + 1
	other, err := credential.NewKeyring("another HMAC secret, of another network")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := engine.New(engine.Config{Keyring: other}, apitest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	_, foreignKey, err := foreign.Issue(t.Context(), engine.IssueRequest{Name: "n", ActorID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	same, err := engine.New(engine.Config{Keyring: mustKeyring(t)}, apitest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	_, deleted, err := same.Issue(t.Context(), engine.IssueRequest{Name: "n", ActorID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	last := "1"
	if strings.HasSuffix(secret, last) {
		last = "2"
	}
	return map[string]string{
		"a wrong checksum":            secret[:len(secret)-1] + last,
		"a checksum of another":       secret[:cut] + foreignKey[strings.LastIndexByte(foreignKey, '_')+1:],
		"no checksum":                 secret[:cut],
		"a key of another network":    foreignKey,
		"a key that does not exist":   deleted,
		"a foreign prefix":            "gh" + secret,
		"the public prefix":           "ory_pub" + strings.TrimPrefix(secret, "ory_ak"),
		"the key id":                  k.IssuedAPIKey.KeyID,
		"any text":                    "hello",
		"a space after it":            secret + " ",
		"another version":             strings.Replace(secret, "_v1_", "_v2_", 1),
		"an identifier of zeros":      "ory_ak_v1_1111_" + secret[cut:],
		"text longer than a key":      strings.Repeat("k", 5000),
		"the id of the key, imported": credential.ImportedKeyID(core.NetworkID{}, secret),
	}
}

func mustKeyring(t *testing.T) *credential.Keyring {
	t.Helper()
	k, err := credential.NewKeyring(apitest.Secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAttack18And19_AllUnknownCredentialsGetTheSameAnswer(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	want := ""
	for name, cred := range forgeries(t, n) {
		w := apitest.Post(n.admin, anyPath+":verify", apitest.Marshal(t, client.VerifyRequest{Credential: cred}))
		if want == "" {
			want = w.Body.String()
		}
		if w.Code != http.StatusOK || w.Body.String() != want || strings.Contains(want, `"is_valid":true`) {
			t.Errorf("%s: got %d %s, want %s", name, w.Code, w.Body, want)
		}
	}
	if !strings.Contains(want, "VERIFICATION_ERROR_NOT_FOUND") {
		t.Errorf("got %s", want)
	}
}

func TestATextThatCannotBeACredentialIsOfInvalidFormat(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for name, cred := range map[string]string{
		"over 16 KiB": strings.Repeat("x", credential.MaxLength+1),
		"NUL":         "a\x00b",
	} {
		if v := n.verify(t, cred); v.IsValid || v.ErrorCode != client.VerificationErrorInvalidFormat {
			t.Errorf("%s: got %+v", name, v)
		}
	}
	for name, cred := range map[string]string{"a JWT": "eyJhbGciOiJub25lIn0.e30.x", "a macaroon": "mc_v1_AgEC"} {
		if v := n.verify(t, cred); v.IsValid || v.ErrorCode != client.VerificationErrorSignatureInvalid {
			t.Errorf("%s: got %+v", name, v)
		}
	}
}

func TestAnIPListIsJudgedOnEachVerificationAndNeverShown(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := n.issue(t, `,"ip_restriction":{"allowed_cidrs":["192.0.2.0/24","2001:db8::/32"]}`)
	for range 2 { // the second time from the cache
		for addr, valid := range map[string]bool{
			"192.0.2.1": true, "::ffff:192.0.2.1": true, "2001:db8::1": true,
			"192.0.3.1": false, "::1": false, "": false,
		} {
			a, _ := netip.ParseAddr(addr)
			n.from(a)
			w := apitest.Post(n.admin, anyPath+":verify", `{"credential":"`+k.Secret+`"}`)
			v := apitest.Unmarshal[client.VerifyResponse](t, w.Body.Bytes())
			if v.IsValid != valid || !valid && v.ErrorCode != client.VerificationErrorIPNotAllowed {
				t.Errorf("from %q: got %+v", addr, v)
			}
			b := apitest.Post(n.admin, anyPath+":batchVerify", `{"requests":[{"credential":"`+k.Secret+`"}]}`)
			if r := apitest.Unmarshal[client.BatchVerifyResponse](t, b.Body.Bytes()).Results; r[0].IsValid != valid {
				t.Errorf("from %q, in a batch: got %+v", addr, r)
			}
			if strings.Contains(w.Body.String()+b.Body.String(), "192.0.2.0") {
				t.Error("the answer has the list")
			}
		}
	}
}

func TestVerifySaysWhetherACacheAnsweredAndHeedsTheCallersWishes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		header, value string
		want          verify.Mode
	}{
		"nothing":            {"X-Any", "no-cache", verify.Use},
		"no-cache":           {"Cache-Control", "no-cache", verify.NoCache},
		"among others":       {"Cache-Control", "max-age=0 , NO-CACHE", verify.NoCache},
		"no-store":           {"Cache-Control", "no-cache, no-store", verify.NoStore},
		"the old header":     {"Pragma", "no-cache", verify.NoCache},
		"another directive":  {"Cache-Control", "max-age=60", verify.Use},
		"a longer directive": {"Cache-Control", "no-cachet", verify.Use},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for status, header := range map[verify.Status]string{
				verify.Hit: "HIT", verify.Negative: "HIT", verify.Stale: "HIT",
				verify.Miss: "MISS", verify.Coalesced: "MISS",
				verify.Local: "",
			} {
				unknown := core.Unknown(core.NetworkID{}, "", 0)
				v := &fixedVerifier{result: verify.Result{Verdict: unknown, Cache: status}}
				r := apitest.Request(http.MethodPost, anyPath+":verify", `{"credential":"x"}`)
				r.Header.Set(tc.header, tc.value)
				w := apitest.Serve(v.handler(), r)
				if got := w.Header().Get(cacheHeader); got != header || v.mode != tc.want {
					t.Errorf("%s: got %q and mode %d, want %q and %d", status, got, v.mode, header, tc.want)
				}
			}
		})
	}
}

func TestBatchVerifyJudgesEachItemAloneAndInOrder(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k, gone := n.issue(t, ""), n.issue(t, "")
	apitest.Post(n.admin, anyPath+"/"+gone.IssuedAPIKey.KeyID+":revoke", "")
	items := []struct {
		cred string
		code client.VerificationErrorCode
	}{
		{"", client.VerificationErrorInvalidFormat},
		{k.Secret, ""},
		{"a\x00b", client.VerificationErrorInvalidFormat},
		{gone.Secret, client.VerificationErrorRevoked},
		{k.Secret, ""},
		{strings.Repeat("x", credential.MaxLength+1), client.VerificationErrorInvalidFormat},
		{k.Secret + "x", client.VerificationErrorNotFound},
		{"eyJhbGciOiJub25lIn0.e30.x", client.VerificationErrorSignatureInvalid},
	}
	var in client.BatchVerifyRequest
	for _, item := range items {
		in.Requests = append(in.Requests, client.VerifyRequest{Credential: item.cred})
	}
	for range 2 {
		w := apitest.Post(n.admin, anyPath+":batchVerify", apitest.Marshal(t, in))
		out := apitest.Unmarshal[client.BatchVerifyResponse](t, w.Body.Bytes())
		if len(out.Results) != len(items) {
			t.Fatalf("%d results for %d items", len(out.Results), len(items))
		}
		for i, r := range out.Results {
			if r.ErrorCode != items[i].code || r.IsValid != (items[i].code == "") ||
				r.IsValid && r.KeyID != k.IssuedAPIKey.KeyID {
				t.Errorf("item %d: got %+v, want %q", i, r, items[i].code)
			}
		}
	}
	bad := apitest.Post(n.admin, anyPath+":batchVerify", `{"requests":[null,{},{"credential":null}]}`)
	for _, r := range apitest.Unmarshal[client.BatchVerifyResponse](t, bad.Body.Bytes()).Results {
		if r.ErrorCode != client.VerificationErrorInvalidFormat {
			t.Errorf("got %+v", r)
		}
	}
}

func TestABatchHasOneToAHundredItems(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for count, status := range map[int]int{0: 400, 1: 200, 100: 200, 101: 400} {
		in := client.BatchVerifyRequest{Requests: make([]client.VerifyRequest, count)}
		if w := apitest.Post(n.admin, anyPath+":batchVerify", apitest.Marshal(t, in)); w.Code != status {
			t.Errorf("%d items: got %d, want %d", count, w.Code, status)
		}
	}
	for _, body := range []string{"", "{}", `{"requests":null}`, `{"requests":{}}`, `{"requests":["x"]}`} {
		apitest.WantError(t, apitest.Post(n.admin, anyPath+":batchVerify", body),
			http.StatusBadRequest, core.BadRequest)
	}
}

func TestUnavailableIsNeverInvalid(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := n.issue(t, "")
	n.store.SetDown(apitest.ErrDown())
	one := apitest.Post(n.admin, anyPath+":verify", `{"credential":"`+k.Secret+`"}`)
	many := apitest.Post(n.admin, anyPath+":batchVerify", `{"requests":[{"credential":"`+k.Secret+`"},{}]}`)
	for _, w := range []*httptest.ResponseRecorder{one, many} {
		apitest.WantError(t, w, http.StatusServiceUnavailable, core.Unavailable)
		if w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	n.store.SetDown(nil)
	if !n.verify(t, k.Secret).IsValid {
		t.Error("the failure was remembered")
	}
}

func TestAnItemThatCannotBeJudgedFailsAlone(t *testing.T) {
	t.Parallel()
	failed := verify.Result{Err: apitest.ErrDown()}
	unknown := verify.Result{Verdict: core.Unknown(core.NetworkID{}, "", 0)}
	ask := func(results ...verify.Result) *httptest.ResponseRecorder {
		return apitest.Post((&fixedVerifier{results: results}).handler(), anyPath+":batchVerify",
			`{"requests":[{"credential":"a"},{"credential":"b"}]}`)
	}
	out := apitest.Unmarshal[client.BatchVerifyResponse](t, ask(failed, unknown).Body.Bytes())
	if out.Results[0].ErrorCode != client.VerificationErrorInternal || out.Results[0].IsValid {
		t.Errorf("got %+v", out.Results[0])
	}
	if out.Results[1].ErrorCode != client.VerificationErrorNotFound {
		t.Errorf("got %+v", out.Results[1])
	}
	apitest.WantError(t, ask(failed, failed), http.StatusServiceUnavailable, core.Unavailable)
}

func TestAttack04_ABatchAnswerOfAnotherLengthIsAnError(t *testing.T) {
	t.Parallel()
	valid := verify.Result{Verdict: &core.Verdict{Code: core.CodeValid, Status: core.StatusActive}}
	for _, results := range [][]verify.Result{nil, {valid}, {valid, valid, valid}} {
		w := apitest.Post((&fixedVerifier{results: results}).handler(), anyPath+":batchVerify",
			`{"requests":[{"credential":"a"},{"credential":"b"}]}`)
		apitest.WantError(t, w, http.StatusInternalServerError, core.Internal)
	}
}

func TestAVerdictThatThisBuildDoesNotKnowIsNotValid(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]*core.Verdict{
		"code":   {Code: 200, Status: core.StatusActive, KeyID: "k"},
		"status": {Code: core.CodeValid, KeyID: "k"},
		"none":   nil,
	} {
		w := apitest.Post((&fixedVerifier{result: verify.Result{Verdict: v}}).handler(),
			anyPath+":verify", `{"credential":"x"}`)
		got := apitest.Unmarshal[client.VerifyResponse](t, w.Body.Bytes())
		if got.IsValid || got.ErrorCode != client.VerificationErrorInternal || got.KeyID != "" {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestAKeyThatExpiredSinceItsVerdictReadsExpired(t *testing.T) {
	t.Parallel()
	now := time.Now()
	v := &core.Verdict{Code: core.CodeValid, Status: core.StatusActive, KeyID: "k", ExpireTime: now}
	w := apitest.Post((&fixedVerifier{result: verify.Result{Verdict: v, Now: now, Cache: verify.Hit}}).handler(),
		anyPath+":verify", `{"credential":"x"}`)
	got := apitest.Unmarshal[client.VerifyResponse](t, w.Body.Bytes())
	if got.IsValid || got.ErrorCode != client.VerificationErrorExpired || got.Status != client.KeyStatusExpired {
		t.Errorf("got %+v", got)
	}
}

// fixedVerifier answers with what it was given.
type fixedVerifier struct {
	result  verify.Result
	results []verify.Result
	mode    verify.Mode
}

func (v *fixedVerifier) Verify(
	_ context.Context, _ core.NetworkID, _ string, mode verify.Mode,
) (verify.Result, error) {
	v.mode = mode
	return v.result, nil
}

func (v *fixedVerifier) VerifyMany(context.Context, core.NetworkID, []string, verify.Mode) []verify.Result {
	return v.results
}

func (v *fixedVerifier) handler() http.Handler {
	return Admin(Options{Network: func(*http.Request) (Network, error) {
		return Network{Verifier: v, Keys: noKeys{}}, nil
	}})
}

// noKeys are the keys where only verifications are asked for.
type noKeys struct{ Keys }

func (noKeys) Applied() uint64 { return 0 }
