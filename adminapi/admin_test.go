package adminapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

var outside = netip.MustParseAddr("203.0.113.9")

func issued(t *testing.T, w *httptest.ResponseRecorder) client.IssueResponse {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return apitest.Unmarshal[client.IssueResponse](t, w.Body.Bytes())
}

func TestIssueRefusesWhatItCannotMean(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for name, tc := range map[string]struct{ fields, field string }{
		"a limit without a window":   {`,"rate_limit_policy":{"quota":"100"}`, "rate_limit_policy"},
		"a limit with half a second": {`,"rate_limit_policy":{"quota":"100","window":"0.5s"}`, "rate_limit_policy"},
		"a limit without a quota":    {`,"rate_limit_policy":{"window":"60s"}`, "rate_limit_policy.quota"},
		"a limit of nothing":         {`,"rate_limit_policy":{}`, "rate_limit_policy.quota"},
		"a quota of zero":            {`,"rate_limit_policy":{"quota":0,"window":"60s"}`, "rate_limit_policy.quota"},
		"a quota of zero, as text": {
			`,"rate_limit_policy":{"quota":"0","window":"60s"}`,
			"rate_limit_policy.quota",
		},
		"a negative quota":              {`,"rate_limit_policy":{"quota":-1,"window":"60s"}`, "rate_limit_policy"},
		"a window that is no duration":  {`,"rate_limit_policy":{"quota":1,"window":"60"}`, "rate_limit_policy.window"},
		"a quota that is no number":     {`,"rate_limit_policy":{"quota":"x"}`, "rate_limit_policy.quota"},
		"a ttl without a unit":          {`,"ttl":"12"`, "ttl"},
		"a ttl of zero":                 {`,"ttl":"0s"`, "ttl"},
		"a negative ttl":                {`,"ttl":"-1h"`, "ttl"},
		"a ttl over the maximum":        {`,"ttl":"8761h"`, "ttl"},
		"a ttl as a number":             {`,"ttl":3600`, "ttl"},
		"a scope with a space":          {`,"scopes":["a b"]`, "scopes"},
		"an empty scope":                {`,"scopes":[""]`, "scopes"},
		"a scope as a number":           {`,"scopes":[1]`, "scopes"},
		"scopes in one string":          {`,"scopes":"a b"`, "scopes"},
		"metadata that is a list":       {`,"metadata":[]`, "metadata"},
		"metadata that is text":         {`,"metadata":"{}"`, "metadata"},
		"metadata over 4 KiB":           {`,"metadata":{"a":"` + strings.Repeat("x", 4096) + `"}`, "metadata"},
		"an address range that is none": {`,"ip_restriction":{"allowed_cidrs":["10.0.0.0/33"]}`, "ip_restriction"},
		"a range as an object":          {`,"ip_restriction":{"allowed_cidrs":{}}`, "ip_restriction.allowed_cidrs"},
		"an unknown visibility":         {`,"visibility":"PUBLIC"`, "visibility"},
		"a visibility as a number":      {`,"visibility":1`, "visibility"},
		"a long request id":             {`,"request_id":"` + strings.Repeat("x", 37) + `"`, "request_id"},
		"a second name":                 {`,"name":"m"`, "name"},
		"a second name in another case": {`,"Name":"m"`, "Name"},
		"a name twice in metadata":      {`,"metadata":{"plan":"a","plan":"b"}`, "plan"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := apitest.Post(n.admin, issuedPath, `{"name":"n","actor_id":"a"`+tc.fields+`}`)
			e := apitest.WantError(t, w, http.StatusBadRequest, core.BadRequest)
			if !strings.Contains(e.Message, tc.field) {
				t.Errorf("the message %q does not name %s", e.Message, tc.field)
			}
			if n.store.Written() != 0 {
				t.Error("something was written")
			}
		})
	}
}

func TestIssueNeedsANameAndAnActor(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for body, field := range map[string]string{
		``: "name", `{}`: "name", `{"name":"n"}`: "actor_id",
		`{"actor_id":"a","name":""}`: "name",
		`{"name":null}`:              "name",
	} {
		e := apitest.WantError(t, apitest.Post(n.admin, issuedPath, body), http.StatusBadRequest, core.BadRequest)
		if !strings.Contains(e.Message, field) {
			t.Errorf("%s: the message %q does not name %s", body, e.Message, field)
		}
	}
}

func TestEmptyAndNullFieldsAreAsAbsent(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := n.issue(t, `,"scopes":null,"ttl":"","metadata":null,"ip_restriction":{},"rate_limit_policy":null,`+
		`"visibility":"KEY_VISIBILITY_UNSPECIFIED","request_id":""`).IssuedAPIKey
	if !k.ExpireTime.IsZero() || k.IPRestriction != nil ||
		k.Visibility != client.KeyVisibilitySecret || k.Metadata != nil {
		t.Errorf("got %+v", k)
	}
}

func TestAPublicKeyHasThePrefixOfPublicKeys(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := n.issue(t, `,"visibility":"KEY_VISIBILITY_PUBLIC"`)
	if !strings.HasPrefix(k.Secret, "ory_pub_v1_") || n.verify(t, k.Secret).Visibility != client.KeyVisibilityPublic {
		t.Errorf("got %+v", k.IssuedAPIKey)
	}
}

func TestRevokeTakesEffectAtOnceAndOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for name, path := range map[string]string{"issued": issuedPath, "either kind": anyPath} {
		for _, body := range []string{"", "{}", `{"reason":"REVOCATION_REASON_KEY_COMPROMISE"}`} {
			k := n.issue(t, "")
			if !n.verify(t, k.Secret).IsValid {
				t.Fatal("a new key is not valid")
			}
			at := path + "/" + k.IssuedAPIKey.KeyID + ":revoke"
			if w := apitest.Post(n.admin, at, body); w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", name, w.Code, w.Body)
			}
			v := n.verify(t, k.Secret)
			if v.IsValid || v.ErrorCode != client.VerificationErrorRevoked || v.KeyID != k.IssuedAPIKey.KeyID {
				t.Errorf("%s: after the revocation: %+v", name, v)
			}
			apitest.WantError(t, apitest.Post(n.admin, at, body), http.StatusConflict, core.FailedPrecondition)
		}
		apitest.WantError(t, apitest.Post(n.admin, path+"/"+unknownUUID+":revoke", ""),
			http.StatusNotFound, core.KeyNotFound)
	}
}

func TestRevokeRefusesABadReasonOrDescription(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := n.issue(t, "")
	for _, body := range []string{
		`{"reason":"KEY_COMPROMISE"}`,
		`{"reason":"revocation_reason_superseded"}`,
		`{"reason":1}`,
		`{"description":"x"}`,
		`{"reason":"REVOCATION_REASON_SUPERSEDED","description":"x"}`,
		`{"reason":"REVOCATION_REASON_PRIVILEGE_WITHDRAWN","description":"` + strings.Repeat("x", 1025) + `"}`,
	} {
		w := apitest.Post(n.admin, issuedPath+"/"+k.IssuedAPIKey.KeyID+":revoke", body)
		apitest.WantError(t, w, http.StatusBadRequest, core.BadRequest)
	}
	if !n.verify(t, k.Secret).IsValid {
		t.Error("a refused revocation revoked the key")
	}
}

func TestPathsThatAreNotOfTheAPIAreNotFound(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	id := n.issue(t, "").IssuedAPIKey.KeyID
	for _, target := range []string{
		"/x", "//", "/v2alpha1", "/v2alpha1/admin", "/v2alpha1/admin/", "*",
		issuedPath + "/", issuedPath + "//" + id, issuedPath + "/" + id + "/", issuedPath + "/" + id + "/x",
		issuedPath + "/%2e%2e", issuedPath + "/" + id + "%3Arevoke", issuedPath + "/" + id + ":delete",
		issuedPath + "/" + id + ":revoke:revoke", issuedPath + "/:revoke", issuedPath + "/" + id + ":REVOKE",
		issuedPath + "/" + strings.Repeat("a", 129), issuedPath + "/a%00b", issuedPath + "/a.b",
		strings.ToUpper(issuedPath), "/" + issuedPath, "/x/.." + issuedPath, issuedPath + ";x=1",
		anyPath, anyPath + "/" + id, anyPath + "/" + id + ":rotate",
		anyPath + ":Derive", anyPath + ":verify/", anyPath + "%3Averify",
		anyPath + ":Verify",
		importedPath + "/" + id + ":rotate", importedPath + ":batchcreate", importedPath + "/a/b",
		eventsPath + "/", eventsPath + "/1", eventsPath + ":list", eventsPath + ":watch/", eventsPath + "%3Awatch",
		"/openapi.json/", "/v2alpha1/openapi.json",
		"/v2alpha1/derivedKeys/jwks.json/", "/v2alpha1/derivedKeys", "/health", "/health/alive/", "/metrics",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodOptions} {
			apitest.WantError(t, apitest.Serve(n.admin, readRequest(t, method, target)),
				http.StatusNotFound, core.NotFound)
		}
	}
}

func TestAMethodThatAPathDoesNotTakeIsRefusedAndTheRightOneNamed(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	id := n.issue(t, "").IssuedAPIKey.KeyID
	for path, allowed := range map[string]string{
		issuedPath:                          "GET, HEAD, POST",
		issuedPath + "/" + id:               "GET, HEAD, PATCH",
		issuedPath + "/" + id + ":revoke":   "POST",
		issuedPath + "/" + id + ":rotate":   "POST",
		importedPath:                        "GET, HEAD, POST",
		importedPath + ":batchCreate":       "POST",
		importedPath + "/" + id:             "GET, HEAD, PATCH, DELETE",
		importedPath + "/" + id + ":revoke": "POST",
		anyPath + "/" + id + ":revoke":      "POST",
		anyPath + ":verify":                 "POST",
		anyPath + ":batchVerify":            "POST",
		anyPath + ":derive":                 "POST",
		eventsPath:                          "GET, HEAD",
		eventsPath + ":watch":               "GET, HEAD",
		selfRevokePath:                      "POST",
		jwksPath:                            "GET, HEAD",
		openAPIPath:                         "GET, HEAD",
		alivePath:                           "GET, HEAD",
		readyPath:                           "GET, HEAD",
	} {
		for _, method := range []string{
			"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS", "get", "TRACE", "X",
		} {
			if slices.Contains(strings.Split(allowed, ", "), method) {
				continue
			}
			w := apitest.Serve(n.admin, apitest.Request(method, path, ""))
			apitest.WantError(t, w, http.StatusMethodNotAllowed, MethodNotAllowed)
			if got := w.Header().Get("Allow"); got != allowed {
				t.Errorf("%s %s: Allow is %q, want %q", method, path, got, allowed)
			}
		}
	}
	for _, path := range []string{issuedPath, issuedPath + "/" + id, jwksPath, openAPIPath, alivePath, readyPath} {
		if w := apitest.Serve(n.admin, apitest.Request(http.MethodHead, path, "")); w.Code != http.StatusOK {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
	}
}

func TestAnUnknownNetworkIsNotFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err    error
		status int
		reason core.Reason
	}{
		{errors.New("no network for host secret.internal"), http.StatusNotFound, core.NotFound},
		{apitest.ErrDown(), http.StatusServiceUnavailable, core.Unavailable},
	} {
		o := Options{Network: func(*http.Request) (Network, error) { return Network{}, tc.err }}
		public := NewPublic(PublicOptions{Options: o})
		for _, h := range []http.Handler{Admin(o), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !public.Serve(w, r) {
				t.Error("the request was passed on")
			}
		})} {
			for _, w := range []*httptest.ResponseRecorder{
				apitest.Get(h, jwksPath), apitest.Post(h, selfRevokePath, `{"credential":"x"}`),
			} {
				e := apitest.WantError(t, w, tc.status, tc.reason)
				if strings.Contains(e.Message, "secret.internal") || strings.Contains(e.Message, "disk-detail") {
					t.Errorf("the message %q tells of the inside", e.Message)
				}
			}
		}
	}
}

func TestTheServersOwnTroubleIsToldWithoutDetail(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	id := n.issue(t, "").IssuedAPIKey.KeyID
	for _, tc := range []struct {
		err    error
		status int
		reason core.Reason
	}{
		{apitest.ErrDown(), http.StatusServiceUnavailable, core.Unavailable},
		{core.WrapError(core.DeadlineExceeded, "disk-detail", nil), http.StatusGatewayTimeout, core.DeadlineExceeded},
		{core.WrapError(core.Internal, "disk-detail", nil), http.StatusInternalServerError, core.Internal},
		{core.NewError("SOMETHING_NEW", "disk-detail"), http.StatusInternalServerError, core.Internal},
		{errors.New("disk-detail"), http.StatusInternalServerError, core.Internal},
	} {
		n.store.SetDown(tc.err)
		for _, w := range []*httptest.ResponseRecorder{
			apitest.Post(n.admin, issuedPath, `{"name":"n","actor_id":"a"}`),
			apitest.Get(n.admin, issuedPath+"/"+id),
			apitest.Post(n.admin, anyPath+"/"+id+":revoke", ""),
		} {
			e := apitest.WantError(t, w, tc.status, tc.reason)
			if strings.Contains(e.Message, "disk-detail") {
				t.Errorf("the message %q tells of the inside", e.Message)
			}
			if retry := w.Header().Get("Retry-After"); (retry != "") != (tc.status == http.StatusServiceUnavailable) {
				t.Errorf("%d with Retry-After %q", tc.status, retry)
			}
		}
		if !strings.Contains(n.logs.String(), "disk-detail") {
			t.Error("the log does not tell the operator")
		}
	}
}

func TestReadinessTellsOperatorsWhatFailedAndThePublicOnlyThat(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.store.SetDown(apitest.ErrDown())
	inside := apitest.Get(n.admin, readyPath)
	e := apitest.WantError(t, inside, http.StatusServiceUnavailable, core.Unavailable)
	if !strings.Contains(e.Message, "disk-detail") {
		t.Errorf("the operator is told %q", e.Message)
	}
	outside := apitest.Get(n.publicHandler(), readyPath)
	e = apitest.WantError(t, outside, http.StatusServiceUnavailable, core.Unavailable)
	if strings.Contains(e.Message, "disk-detail") || strings.Contains(e.Message, "database") {
		t.Errorf("the public is told %q", e.Message)
	}
	if w := apitest.Get(n.admin, alivePath); w.Code != http.StatusOK {
		t.Errorf("alive: %d", w.Code)
	}
}

func TestHealthIsPublicOnlyWhereItIsConfigured(t *testing.T) {
	t.Parallel()
	p := NewPublic(PublicOptions{Options: Options{Network: func(*http.Request) (Network, error) {
		return Network{}, nil
	}}})
	for _, path := range []string{alivePath, readyPath} {
		if p.Serve(httptest.NewRecorder(), apitest.Request(http.MethodGet, path, "")) {
			t.Errorf("%s is served", path)
		}
	}
}

func TestAnExpiredKeyReadsExpiredFromTheCacheToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		k := n.issue(t, `,"ttl":"90s"`)
		for range 3 {
			if v := n.verify(t, k.Secret); !v.IsValid {
				t.Fatalf("got %+v", v)
			}
			time.Sleep(29 * time.Second)
			synctest.Wait()
		}
		time.Sleep(3 * time.Second)
		v := n.verify(t, k.Secret)
		if v.IsValid || v.ErrorCode != client.VerificationErrorExpired || v.Status != client.KeyStatusExpired {
			t.Errorf("got %+v", v)
		}
		w := apitest.Get(n.admin, issuedPath+"/"+k.IssuedAPIKey.KeyID)
		if s := apitest.Unmarshal[client.IssuedAPIKey](t, w.Body.Bytes()).Status; s != client.KeyStatusExpired {
			t.Errorf("the record reads %s", s)
		}
	})
}
