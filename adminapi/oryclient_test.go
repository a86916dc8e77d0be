package adminapi

import (
	"net/http"
	"net/http/httptest"
	"testing"

	ory "github.com/ory/client-go"
)

// TestThePublishedGoClientWorksUnchanged drives the server with the client that others have published for this API.
//
//nolint:bodyclose // ok and refused close the bodies
func TestThePublishedGoClientWorksUnchanged(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	server := httptest.NewServer(n.admin)
	t.Cleanup(server.Close)
	config := ory.NewConfiguration()
	config.Servers = ory.ServerConfigurations{{URL: server.URL}}
	config.HTTPClient = server.Client()
	api := ory.NewAPIClient(config).ApiKeysAPI
	ctx := t.Context()
	ok := func(call string, resp *http.Response, err error) {
		t.Helper()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", call, err)
		}
		_ = resp.Body.Close()
	}
	refused := func(call string, resp *http.Response, err error, status int) {
		t.Helper()
		if err == nil || resp == nil || resp.StatusCode != status {
			t.Fatalf("%s: got %v, want %d", call, err, status)
		}
		_ = resp.Body.Close()
	}

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
