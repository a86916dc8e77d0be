package adminapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
)

const batchPath = importedPath + ":batchCreate"

func (n *node) importKey(t *testing.T, raw, fields string) client.ImportedAPIKey {
	t.Helper()
	w := apitest.Post(n.admin, importedPath,
		`{"raw_key":`+apitest.Marshal(t, raw)+`,"name":"n","actor_id":"a"`+fields+`}`)
	if w.Code != http.StatusOK {
		t.Fatalf("import: %d %s", w.Code, w.Body)
	}
	return apitest.Unmarshal[client.ImportedAPIKey](t, w.Body.Bytes())
}

func TestAnImportedKeyVerifiesAndIsShownWithoutItself(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const raw = "a key of old, with späces"
	k := n.importKey(t, raw, `,"scopes":["x"],"metadata":{"a":1},"ttl":"1h","visibility":"KEY_VISIBILITY_PUBLIC"`)
	if k.KeyID != credential.ImportedKeyID(core.NetworkID{}, raw) || k.Visibility != client.KeyVisibilityPublic {
		t.Errorf("got %+v", k)
	}
	if v := n.verify(t, raw); !v.IsValid || v.KeyID != k.KeyID || v.Scopes[0] != "x" {
		t.Errorf("got %+v", v)
	}
	w := apitest.Get(n.admin, importedPath+"/"+k.KeyID)
	read := apitest.Unmarshal[client.Key](t, w.Body.Bytes())
	if !reflect.DeepEqual(read, k) || strings.Contains(w.Body.String(), raw) {
		t.Errorf("got %s, want %+v", w.Body, k)
	}
	apitest.WantError(t, apitest.Get(n.admin, issuedPath+"/"+k.KeyID), http.StatusNotFound, core.KeyNotFound)
	if strings.Contains(n.logs.String(), raw) {
		t.Error("the log holds the key")
	}
}

func TestAKeyIsImportedOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.importKey(t, "raw", `,"request_id":"r"`)
	n.importKey(t, "raw", `,"request_id":"r"`) // the same call
	apitest.WantError(t, apitest.Post(n.admin, importedPath, `{"raw_key":"raw","name":"n","actor_id":"a"}`),
		http.StatusConflict, core.KeyExists)
	apitest.WantError(t,
		apitest.Post(n.admin, importedPath, `{"raw_key":"other","name":"n","actor_id":"a","request_id":"r"}`),
		http.StatusConflict, core.Conflict)
	if n.store.Written() != 1 {
		t.Errorf("%d writes", n.store.Written())
	}
}

func TestImportRefusesWhatCouldNeverBeVerifiedAsAnImportedKey(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	own := n.issue(t, "").Secret
	for name, body := range map[string]string{
		"no key":            `{"name":"n","actor_id":"a"}`,
		"an empty key":      `{"raw_key":"","name":"n","actor_id":"a"}`,
		"a long key":        `{"raw_key":"` + strings.Repeat("x", 4097) + `","name":"n","actor_id":"a"}`,
		"a NUL":             `{"raw_key":"a\u0000b","name":"n","actor_id":"a"}`,
		"a key of our form": `{"raw_key":"` + own + `","name":"n","actor_id":"a"}`,
		"a JWT":             `{"raw_key":"eyJhbGciOiJFZERTQSJ9.e30.c2ln","name":"n","actor_id":"a"}`,
		"a number":          `{"raw_key":12345678,"name":"n","actor_id":"a"}`,
	} {
		e := apitest.WantError(t, apitest.Post(n.admin, importedPath, body), http.StatusBadRequest, core.BadRequest)
		if !strings.Contains(e.Message, "raw_key") || strings.Contains(e.Message, own) {
			t.Errorf("%s: got %q", name, e.Message)
		}
	}
}

func TestAnImportRefusesAQuotaBelowOneOfThatKeyAlone(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, quota := range []string{`0`, `"0"`, `-1`, `null`} {
		item := func(raw string) string {
			return `{"raw_key":"` + raw + `","name":"n","actor_id":"a",` +
				`"rate_limit_policy":{"quota":` + quota + `,"window":"60s"}}`
		}
		e := apitest.WantError(t, apitest.Post(n.admin, importedPath, item("one")),
			http.StatusBadRequest, core.BadRequest)
		if !strings.Contains(e.Message, "rate_limit_policy.quota") {
			t.Errorf("quota %s: got %q", quota, e.Message)
		}
		w := apitest.Post(n.admin, batchPath, `{"requests":[`+item("many")+
			`,{"raw_key":"fine `+strings.Trim(quota, `"`)+` of `+strconv.Itoa(len(quota))+
			`","name":"n","actor_id":"a"}]}`)
		out := apitest.Unmarshal[client.BatchCreateResponse](t, w.Body.Bytes())
		if w.Code != http.StatusOK || out.SuccessCount != 1 || out.FailureCount != 1 ||
			out.Results[0].ErrorCode != client.BatchCreateErrorInvalidArgument ||
			!strings.Contains(out.Results[0].ErrorMessage, "rate_limit_policy.quota") {
			t.Errorf("quota %s, among others: got %d %s", quota, w.Code, w.Body)
		}
	}
	if n.verify(t, "one").IsValid || n.verify(t, "many").IsValid {
		t.Error("a key that was refused is valid")
	}
}

func TestADeletedKeyIsGoneAtOnceAndCanBeImportedAgain(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	id := n.importKey(t, "raw", "").KeyID
	if !n.verify(t, "raw").IsValid {
		t.Fatal("a new key is not valid")
	}
	w := apitest.Serve(n.admin, apitest.Request(http.MethodDelete, importedPath+"/"+id, ""))
	if w.Code != http.StatusOK || w.Body.String() != "{}\n" {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if v := n.verify(t, "raw"); v.ErrorCode != client.VerificationErrorNotFound || v.KeyID != "" {
		t.Errorf("got %+v", v)
	}
	apitest.WantError(t, apitest.Serve(n.admin, apitest.Request(http.MethodDelete, importedPath+"/"+id, "")),
		http.StatusNotFound, core.KeyNotFound)
	issued := n.issue(t, "").IssuedAPIKey.KeyID
	apitest.WantError(t, apitest.Serve(n.admin, apitest.Request(http.MethodDelete, importedPath+"/"+issued, "")),
		http.StatusNotFound, core.KeyNotFound)
	n.importKey(t, "raw", "")
	if !n.verify(t, "raw").IsValid {
		t.Error("a key that was imported again is not valid")
	}
}

func TestAnImportedKeyIsRevokedThroughBothOfItsPaths(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for i, path := range []string{importedPath, anyPath} {
		raw := fmt.Sprintf("raw %d", i)
		id := n.importKey(t, raw, "").KeyID
		apitest.WantError(t, apitest.Post(n.admin, issuedPath+"/"+id+":revoke", ""),
			http.StatusNotFound, core.KeyNotFound)
		w := apitest.Post(n.admin, path+"/"+id+":revoke", `{"reason":"REVOCATION_REASON_SUPERSEDED"}`)
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if v := n.verify(t, raw); v.ErrorCode != client.VerificationErrorRevoked {
			t.Errorf("%s: got %+v", path, v)
		}
	}
}

// "Already exists" makes an import of many succeed; a key that is not there must not hide behind it.
func TestABatchTellsATakenRequestIDFromAKeyThatExists(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.importKey(t, "there", `,"request_id":"r"`)
	const rest = `"name":"n","actor_id":"a"}`
	w := apitest.Post(n.admin, batchPath,
		`{"requests":[{"request_id":"r","raw_key":"other",`+rest+`,{"raw_key":"there",`+rest+`]}`)
	apitest.WantError(t, w, http.StatusConflict, core.Conflict)
	out := apitest.Unmarshal[client.BatchCreateResponse](t, w.Body.Bytes())
	if len(out.Results) != 2 || out.Results[0].ErrorCode != client.BatchCreateErrorFailedPrecondition ||
		!strings.Contains(out.Results[0].ErrorMessage, "request_id") ||
		out.Results[1].ErrorCode != client.BatchCreateErrorAlreadyExists {
		t.Errorf("got %s", w.Body)
	}
}

func TestABatchImportsEachKeyAlone(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.importKey(t, "there", "")
	const rest = `"name":"n","actor_id":"a"}`
	w := apitest.Post(n.admin, batchPath, `{"requests":[{"raw_key":"a",`+rest+`,{"raw_key":"there",`+rest+
		`,{"raw_key":"b","ttl":"x",`+rest+`,{"raw_key":"a",`+rest+`,null,{"raw_key":"c","visibility":"X",`+rest+
		`,{"raw_key":"d",`+rest+`]}`)
	if w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	apitest.WantHeaders(t, w)
	out := apitest.Unmarshal[client.BatchCreateResponse](t, w.Body.Bytes())
	codes := []client.BatchCreateErrorCode{
		"", client.BatchCreateErrorAlreadyExists, client.BatchCreateErrorInvalidArgument,
		client.BatchCreateErrorAlreadyExists, client.BatchCreateErrorInvalidArgument,
		client.BatchCreateErrorInvalidArgument, "",
	}
	if len(out.Results) != len(codes) || out.SuccessCount != 2 || out.FailureCount != 5 {
		t.Fatalf("got %s", w.Body)
	}
	for i, r := range out.Results {
		if r.Index != i || r.ErrorCode != codes[i] || (r.ErrorMessage == "") != (codes[i] == "") ||
			(r.ImportedAPIKey == nil) != (codes[i] != "") {
			t.Errorf("%d: got %+v", i, r)
		}
	}
	for _, raw := range []string{"a", "d"} {
		if !n.verify(t, raw).IsValid {
			t.Errorf("%s was not imported", raw)
		}
	}
}

func TestABatchThatImportsNothingHasItsFirstErrorsStatus(t *testing.T) {
	t.Parallel()
	full := newNodeWith(t, setup{quota: 1})
	full.importKey(t, "there", "")
	for name, tc := range map[string]struct {
		n      *node
		body   string
		status int
		reason core.Reason
		code   client.BatchCreateErrorCode
	}{
		"bad fields": {
			newNode(t), `[{},{"raw_key":"x"}]`,
			400, core.BadRequest, client.BatchCreateErrorInvalidArgument,
		},
		"imported already": {
			full, `[{"raw_key":"there","name":"n","actor_id":"a"},{}]`,
			409, core.KeyExists, client.BatchCreateErrorAlreadyExists,
		},
		"a full quota": {
			full, `[{"raw_key":"new","name":"n","actor_id":"a"},{}]`,
			402, core.KeyQuotaExceeded, client.BatchCreateErrorResourceExhausted,
		},
	} {
		w := apitest.Post(tc.n.admin, batchPath, `{"requests":`+tc.body+`}`)
		apitest.WantError(t, w, tc.status, tc.reason)
		out := apitest.Unmarshal[client.BatchCreateResponse](t, w.Body.Bytes())
		if len(out.Results) != 2 || out.FailureCount != 2 || out.SuccessCount != 0 ||
			out.Results[0].ErrorCode != tc.code {
			t.Errorf("%s: got %s", name, w.Body)
		}
	}
}

func TestABatchHasOneToAThousandKeysAndUpTo16MiB(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	var items []string
	for i := range engine.MaxImports {
		items = append(items,
			fmt.Sprintf(`{"raw_key":"key %d","name":"n","actor_id":"a","x":"%s"}`, i, strings.Repeat("x", 2000)))
	}
	whole := strings.Join(items, ",")
	w := apitest.Post(n.admin, batchPath, `{"requests":[`+whole+`]}`) // 2 MiB
	out := apitest.Unmarshal[client.BatchCreateResponse](t, w.Body.Bytes())
	if w.Code != 200 || out.SuccessCount != engine.MaxImports {
		t.Fatalf("got %d, %d imported", w.Code, out.SuccessCount)
	}
	writes := n.store.Written()
	for name, body := range map[string]string{
		"none": `{}`, "an empty list": `{"requests":[]}`, "null": `{"requests":null}`,
		"one too many":  `{"requests":[` + whole + `,{}]}`,
		"a million":     `{"requests":[{}` + strings.Repeat(",{}", 1_000_000) + `]}`,
		"an object":     `{"requests":{}}`,
		"a wrong type":  `{"requests":[{"raw_key":"new","name":"n","actor_id":"a"},{"name":1}]}`,
		"a field twice": `{"requests":[{"raw_key":"new","raw_key":"newer","name":"n","actor_id":"a"}]}`,
		"text":          `{"requests":["new"]}`, "cut off": `{"requests":[{"raw_key":"new","name":"n","actor_id":"a"}]`,
	} {
		e := apitest.WantError(t, apitest.Post(n.admin, batchPath, body), http.StatusBadRequest, core.BadRequest)
		if strings.Contains(e.Message, "new") {
			t.Errorf("%s: the message %q repeats a value", name, e.Message)
		}
		if name == "an object" && e.Message != "requests: must be an array" {
			t.Errorf("%s: the message is %q", name, e.Message)
		}
	}
	apitest.WantError(t, apitest.Post(n.admin, batchPath, `{"x":"`+strings.Repeat("x", maxBatchBody)+`"}`),
		413, core.BadRequest)
	if n.store.Written() != writes {
		t.Error("something was written")
	}
}

func TestNoMoreItemsOfABatchAreReadThanItMayHave(t *testing.T) {
	t.Parallel()
	var in batchRequest
	if err := body.Object([]byte(`{"requests":[{}`+strings.Repeat(",{}", 100_000)+`]}`), &in); err != nil {
		t.Fatal(err)
	}
	if len(in.Requests.Items) != engine.MaxImports || !in.Requests.Over {
		t.Errorf("%d items were read", len(in.Requests.Items))
	}
}

func TestABatchThatTheStorageCannotTakeIsUnavailable(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.store.SetDown(apitest.ErrDown())
	w := apitest.Post(n.admin, batchPath, `{"requests":[{"raw_key":"a","name":"n","actor_id":"a"},{}]}`)
	apitest.WantError(t, w, http.StatusServiceUnavailable, core.Unavailable)
	if strings.Contains(w.Body.String(), "results") || strings.Contains(w.Body.String(), "disk-detail") {
		t.Errorf("got %s", w.Body)
	}
}

func TestAFullQuotaIsPaymentRequired(t *testing.T) {
	t.Parallel()
	n := newNodeWith(t, setup{quota: 2})
	n.issue(t, "")
	n.importKey(t, "raw", "")
	for path, body := range map[string]string{
		issuedPath:   `{"name":"n","actor_id":"a"}`,
		importedPath: `{"raw_key":"new","name":"n","actor_id":"a"}`,
	} {
		e := apitest.WantError(t, apitest.Post(n.admin, path, body), http.StatusPaymentRequired, core.KeyQuotaExceeded)
		if e.Status != "PERMISSION_DENIED" {
			t.Errorf("%s: got %s", path, e.Status)
		}
	}
}

func FuzzBatchRequest(f *testing.F) {
	for _, seed := range []string{
		`{"requests":[{"raw_key":"a","name":"n"},null,{}]}`, `{"requests":null}`, `{"requests":[1]}`, `{"requests":{}}`,
		`{"requests":[[]]}`, `{"requests":[{"scopes":["a"],"metadata":{"a":[1]}}],"REQUESTS":[]}`,
		`{"requests":[{"ttl":1}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got batchRequest
		err := body.Object(text, &got)
		var want client.BatchCreateRequest
		plain := json.Unmarshal(text, &want)
		if err == nil && len(strings.TrimSpace(string(text))) > 0 && !got.Requests.Over {
			if plain != nil {
				t.Fatalf("%s is read, and is not what it should be: %v", text, plain)
			}
			if len(got.Requests.Items)+len(want.Requests) > 0 && !reflect.DeepEqual(got.Requests.Items, want.Requests) {
				t.Fatalf("%s is read as %+v, want %+v", text, got.Requests.Items, want.Requests)
			}
		}
		if err != nil && core.ReasonOf(err) != core.BadRequest {
			t.Fatalf("%s: %v", text, err)
		}
	})
}
