package adminapi

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	ory "github.com/ory/client-go"
)

// oryCall checks the outcomes of calls of the published client.
type oryCall struct{ *testing.T }

// ok fails the test unless a call has succeeded.
func (t oryCall) ok(call string, resp *http.Response, err error) {
	t.Helper()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", call, err)
	}
	_ = resp.Body.Close()
}

// refused fails the test unless a call was refused with a status.
func (t oryCall) refused(call string, resp *http.Response, err error, status int) {
	t.Helper()
	if err == nil || resp == nil || resp.StatusCode != status {
		t.Fatalf("%s: got %v, want %d", call, err, status)
	}
	_ = resp.Body.Close()
}

// oryAPI is the published client of a node.
func oryAPI(t *testing.T, h http.Handler) ory.ApiKeysAPI {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	config := ory.NewConfiguration()
	config.Servers = ory.ServerConfigurations{{URL: server.URL}}
	config.HTTPClient = server.Client()
	return ory.NewAPIClient(config).ApiKeysAPI
}

// TestThePublishedGoClientWorksUnchanged drives the server with the client that others have published for this API.
//
//nolint:bodyclose // ok and refused close the bodies
func TestThePublishedGoClientWorksUnchanged(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	api, ctx, call := oryAPI(t, n.admin), t.Context(), oryCall{t}
	ok, refused := call.ok, call.refused

	in := ory.IssueApiKeyRequest{
		Name: new("ci"), ActorId: new("user-1"), Scopes: []string{"orders:read"}, Ttl: new("3600s"),
		Metadata:      map[string]any{"plan": "pro"},
		IpRestriction: &ory.IPRestriction{AllowedCidrs: []string{"192.0.2.0/24"}},
		Visibility:    ory.KEYVISIBILITY_KEY_VISIBILITY_SECRET.Ptr(),
	}
	made, resp, err := api.AdminIssueApiKey(ctx).IssueApiKeyRequest(in).Execute()
	ok("issue", resp, err)
	id, secret := made.IssuedApiKey.GetKeyId(), made.GetSecret()
	if id == "" || secret == "" || made.IssuedApiKey.GetStatus() != ory.KEYSTATUS_KEY_STATUS_ACTIVE {
		t.Fatalf("issue: got %+v", made)
	}

	record, resp, err := api.AdminGetIssuedApiKey(ctx, id).Execute()
	ok("get", resp, err)
	if record.GetActorId() != "user-1" || record.IpRestriction.AllowedCidrs[0] != "192.0.2.0/24" ||
		record.GetMetadata()["plan"] != "pro" || record.GetExpireTime().Sub(record.GetCreateTime()).Hours() != 1 {
		t.Errorf("get: got %+v", record)
	}
	_, resp, err = api.AdminGetIssuedApiKey(ctx, unknownUUID).Execute()
	refused("get an unknown key", resp, err, http.StatusNotFound)
	_, resp, err = api.AdminGetIssuedApiKey(ctx, "../issuedApiKeys").Execute()
	refused("get a path", resp, err, http.StatusNotFound)

	verdict, resp, err := api.AdminVerifyApiKey(ctx).
		VerifyApiKeyRequest(ory.VerifyApiKeyRequest{Credential: &secret}).CacheControl("no-cache").Execute()
	ok("verify", resp, err)
	if !verdict.GetIsValid() || verdict.GetKeyId() != id || verdict.GetScopes()[0] != "orders:read" {
		t.Errorf("verify: got %+v", verdict)
	}
	batch, resp, err := api.AdminBatchVerifyApiKeys(ctx).BatchVerifyApiKeysRequest(ory.BatchVerifyApiKeysRequest{
		Requests: []ory.VerifyApiKeyRequest{{Credential: new("x")}, {Credential: &secret}, {}},
	}).Execute()
	ok("batch verify", resp, err)
	if r := batch.GetResults(); len(r) != 3 || r[0].GetIsValid() || !r[1].GetIsValid() || r[2].GetIsValid() ||
		r[0].GetErrorCode() != ory.VERIFICATIONERRORCODE_VERIFICATION_ERROR_NOT_FOUND {
		t.Errorf("batch verify: got %+v", r)
	}

	revoke := ory.AdminRevokeIssuedApiKeyBody{
		Reason:      ory.REVOCATIONREASON_REVOCATION_REASON_PRIVILEGE_WITHDRAWN.Ptr(),
		Description: new("left"),
	}
	resp, err = api.AdminRevokeIssuedApiKey(ctx, id).AdminRevokeIssuedApiKeyBody(revoke).Execute()
	ok("revoke", resp, err)
	resp, err = api.AdminRevokeIssuedApiKey(ctx, id).AdminRevokeIssuedApiKeyBody(revoke).Execute()
	refused("revoke again", resp, err, http.StatusConflict)
	verdict, resp, err = api.AdminVerifyApiKey(ctx).
		VerifyApiKeyRequest(ory.VerifyApiKeyRequest{Credential: &secret}).Execute()
	ok("verify a revoked key", resp, err)
	if verdict.GetIsValid() || verdict.GetErrorCode() != ory.VERIFICATIONERRORCODE_VERIFICATION_ERROR_REVOKED {
		t.Errorf("verify a revoked key: got %+v", verdict)
	}

	other, resp, err := api.AdminIssueApiKey(ctx).
		IssueApiKeyRequest(ory.IssueApiKeyRequest{Name: new("n"), ActorId: new("a")}).Execute()
	ok("issue another", resp, err)
	_, resp, err = api.RevokeApiKey(ctx).SelfRevokeApiKeyRequest(ory.SelfRevokeApiKeyRequest{
		Credential: other.Secret, Reason: ory.REVOCATIONREASON_REVOCATION_REASON_SUPERSEDED.Ptr(),
	}).Execute()
	ok("self-revoke", resp, err)

	set, resp, err := api.GetJwks(ctx).Execute()
	ok("key set", resp, err)
	if set.Jwks == nil {
		t.Errorf("key set: got %+v", set)
	}
}

//nolint:bodyclose // ok and refused close the bodies
func TestThePublishedGoClientManagesIssuedKeys(t *testing.T) {
	t.Parallel()
	n := newNodeWith(t, setup{limiter: limiter(t)})
	api, ctx, call := oryAPI(t, n.admin), t.Context(), oryCall{t}
	ok, refused := call.ok, call.refused

	var secrets, ids []string
	for i := range 3 {
		in := ory.IssueApiKeyRequest{
			Name: new("ci"), ActorId: new("user-1"), Scopes: []string{"a"}, RequestId: new(strconv.Itoa(i)),
			RateLimitPolicy: &ory.RateLimitPolicy{Quota: new("2"), Window: new("1m")},
		}
		made, resp, err := api.AdminIssueApiKey(ctx).IssueApiKeyRequest(in).Execute()
		ok("issue", resp, err)
		if p := made.IssuedApiKey.RateLimitPolicy; p.GetQuota() != "2" || p.GetWindow() != "60s" {
			t.Errorf("issue: the limit is %+v", p)
		}
		secrets, ids = append(secrets, made.GetSecret()), append(ids, made.IssuedApiKey.GetKeyId())
		again, resp, err := api.AdminIssueApiKey(ctx).IssueApiKeyRequest(in).Execute()
		ok("issue again", resp, err)
		if again.IssuedApiKey.GetKeyId() != ids[i] || again.GetSecret() != "" {
			t.Errorf("issue again: got %+v", again)
		}
	}

	page, resp, err := api.AdminListIssuedApiKeys(ctx).PageSize(2).Filter(`actor_id="user-1"`).Execute()
	ok("list", resp, err)
	rest, resp, err := api.AdminListIssuedApiKeys(ctx).PageSize(2).Filter(`actor_id="user-1"`).
		PageToken(page.GetNextPageToken()).Execute()
	ok("list on", resp, err)
	if len(page.GetIssuedApiKeys()) != 2 || len(rest.GetIssuedApiKeys()) != 1 || rest.GetNextPageToken() != "" ||
		rest.GetIssuedApiKeys()[0].GetKeyId() != ids[2] {
		t.Errorf("list: got %+v and %+v", page, rest)
	}
	_, resp, err = api.AdminListIssuedApiKeys(ctx).PageSize(-1).Execute()
	refused("list less than nothing", resp, err, http.StatusBadRequest)

	changed, resp, err := api.AdminUpdateIssuedApiKey(ctx, ids[0]).UpdateMask("name,rate_limit_policy").
		AdminUpdateIssuedApiKeyRequest(ory.AdminUpdateIssuedApiKeyRequest{Name: new("new"), Scopes: []string{"z"}}).
		Execute()
	ok("update", resp, err)
	if changed.GetName() != "new" || changed.RateLimitPolicy != nil || changed.GetScopes()[0] != "a" {
		t.Errorf("update: got %+v", changed)
	}
	_, resp, err = api.AdminUpdateIssuedApiKey(ctx, ids[0]).UpdateMask("status").
		AdminUpdateIssuedApiKeyRequest(ory.AdminUpdateIssuedApiKeyRequest{}).Execute()
	refused("update what cannot be", resp, err, http.StatusBadRequest)

	rotated, resp, err := api.AdminRotateIssuedApiKey(ctx, ids[0]).AdminRotateIssuedApiKeyBody(
		ory.AdminRotateIssuedApiKeyBody{Scopes: []string{"a", "b"}}).Execute()
	ok("rotate", resp, err)
	if rotated.GetSecret() == "" || rotated.OldIssuedApiKey.GetKeyId() != ids[0] ||
		rotated.OldIssuedApiKey.GetRevocationReason() != ory.REVOCATIONREASON_REVOCATION_REASON_SUPERSEDED ||
		rotated.IssuedApiKey.GetName() != "new" || len(rotated.IssuedApiKey.GetScopes()) != 2 {
		t.Errorf("rotate: got %+v", rotated)
	}
	_, resp, err = api.AdminRotateIssuedApiKey(ctx, ids[0]).
		AdminRotateIssuedApiKeyBody(ory.AdminRotateIssuedApiKeyBody{}).Execute()
	refused("rotate a revoked key", resp, err, http.StatusConflict)

	for _, want := range []string{"1", "0", "limited"} {
		v, resp, err := api.AdminVerifyApiKey(ctx).
			VerifyApiKeyRequest(ory.VerifyApiKeyRequest{Credential: &secrets[1]}).Execute()
		ok("verify", resp, err)
		limited := v.GetErrorCode() == ory.VERIFICATIONERRORCODE_VERIFICATION_ERROR_RATE_LIMITED
		if limited != (want == "limited") || !limited && v.GetRateLimitRemaining() != want ||
			v.RateLimitResetTime == nil {
			t.Errorf("verify: got %+v, want %s", v, want)
		}
	}
}

//nolint:bodyclose // ok and refused close the bodies
func TestThePublishedGoClientManagesImportedKeysAndTokens(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	api, ctx, call := oryAPI(t, n.admin), t.Context(), oryCall{t}
	ok, refused := call.ok, call.refused

	in := ory.ImportApiKeyRequest{RawKey: new("old"), Name: new("n"), ActorId: new("a"), Scopes: []string{"x", "y"}}
	made, resp, err := api.AdminImportApiKey(ctx).ImportApiKeyRequest(in).Execute()
	ok("import", resp, err)
	id := made.GetKeyId()
	_, resp, err = api.AdminImportApiKey(ctx).ImportApiKeyRequest(in).Execute()
	refused("import again", resp, err, http.StatusConflict)
	read, resp, err := api.AdminGetImportedApiKey(ctx, id).Execute()
	ok("get", resp, err)
	if read.GetStatus() != ory.KEYSTATUS_KEY_STATUS_ACTIVE {
		t.Errorf("get: got %+v", read)
	}

	batch, resp, err := api.AdminBatchCreateImportedApiKeys(ctx).BatchCreateImportedApiKeysRequest(
		ory.BatchCreateImportedApiKeysRequest{Requests: []ory.ImportApiKeyRequest{
			in, {RawKey: new("new"), Name: new("n"), ActorId: new("a")},
		}}).Execute()
	ok("batch", resp, err)
	if r := batch.GetResults(); batch.GetSuccessCount() != 1 || batch.GetFailureCount() != 1 || len(r) != 2 ||
		r[1].GetIndex() != 1 || r[1].ImportedApiKey.GetKeyId() == "" {
		t.Fatalf("batch: got %+v", batch)
	}
	const exists = ory.BATCHCREATEIMPORTEDAPIKEYSERRORCODE_BATCH_CREATE_IMPORTED_API_KEYS_ERROR_ALREADY_EXISTS
	if code := batch.GetResults()[0].GetErrorCode(); code != exists {
		t.Errorf("batch: got %q for a key that exists", code)
	}
	_, resp, err = api.AdminBatchCreateImportedApiKeys(ctx).BatchCreateImportedApiKeysRequest(
		ory.BatchCreateImportedApiKeysRequest{Requests: []ory.ImportApiKeyRequest{in}}).Execute()
	refused("a batch of nothing new", resp, err, http.StatusConflict)
	page, resp, err := api.AdminListImportedApiKeys(ctx).Filter("status=KEY_STATUS_ACTIVE").Execute()
	ok("list", resp, err)
	if len(page.GetImportedApiKeys()) != 2 {
		t.Errorf("list: got %+v", page)
	}
	changed, resp, err := api.AdminUpdateImportedApiKey(ctx, id).
		AdminUpdateImportedApiKeyRequest(ory.AdminUpdateImportedApiKeyRequest{Name: new("m")}).Execute()
	ok("update", resp, err)
	if changed.GetName() != "m" || len(changed.GetScopes()) != 2 {
		t.Errorf("update: got %+v", changed)
	}

	for _, algorithm := range []ory.TokenAlgorithm{
		ory.TOKENALGORITHM_TOKEN_ALGORITHM_JWT, ory.TOKENALGORITHM_TOKEN_ALGORITHM_MACAROON,
	} {
		derived, resp, err := api.AdminDeriveToken(ctx).DeriveTokenRequest(ory.DeriveTokenRequest{
			Credential: new("old"), Algorithm: algorithm.Ptr(), Ttl: new("600s"), Scopes: []string{"x"},
			CustomClaims: map[string]any{"plan": "pro"},
		}).Execute()
		ok("derive", resp, err)
		if derived.Token.GetClaims()["plan"] != "pro" || derived.Token.GetExpireTime().IsZero() {
			t.Errorf("derive: got %+v", derived)
		}
		if v := n.verify(t, derived.Token.GetToken()); !v.IsValid || v.KeyID != id || len(v.Scopes) != 1 {
			t.Errorf("verify: got %+v", v)
		}
	}
	set, resp, err := api.GetJwks(ctx).Execute()
	ok("key set", resp, err)
	if len(set.Jwks.GetKeys()) != 1 {
		t.Errorf("key set: got %+v", set)
	}

	resp, err = api.AdminRevokeImportedApiKey(ctx, id).
		AdminRevokeImportedApiKeyBody(ory.AdminRevokeImportedApiKeyBody{}).Execute()
	ok("revoke", resp, err)
	_, resp, err = api.AdminUpdateImportedApiKey(ctx, id).
		AdminUpdateImportedApiKeyRequest(ory.AdminUpdateImportedApiKeyRequest{Name: new("k")}).Execute()
	refused("update a revoked key", resp, err, http.StatusConflict)
	resp, err = api.AdminDeleteImportedApiKey(ctx, id).Execute()
	ok("delete", resp, err)
	resp, err = api.AdminDeleteImportedApiKey(ctx, id).Execute()
	refused("delete again", resp, err, http.StatusNotFound)
}
