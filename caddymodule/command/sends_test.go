package command

import (
	"net/http"
	"slices"
	"testing"
)

func TestWhatEachCommandSends(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args               []string
		stdin, answer      string
		method, path, body string
		noCache            bool
	}{
		"issue": {
			args: []string{
				"keys", "issue", "ci", "--actor", "bot", "--scopes", "a,b", "--scopes", "c", "--ttl", "1y6mo",
				"--metadata", `{"a": 1}`, "--allowed-cidrs", "10.0.0.0/8,::1/128", "--public", "--request-id", "r1",
			},
			answer: issueJSON, method: "POST", path: "/v2alpha1/admin/issuedApiKeys",
			body: `{"name":"ci","actor_id":"bot","scopes":["a","b","c"],"ttl":"1y6mo","metadata":{"a":1},` +
				`"visibility":"KEY_VISIBILITY_PUBLIC","ip_restriction":{"allowed_cidrs":["10.0.0.0/8","::1/128"]},` +
				`"request_id":"r1"}`,
		},
		"issue, the least": {
			args:   []string{"keys", "issued", "issue", "ci", "--actor", "bot"},
			answer: issueJSON, method: "POST", path: "/v2alpha1/admin/issuedApiKeys",
			body: `{"name":"ci","actor_id":"bot"}`,
		},
		"get": {
			args:   []string{"keys", "issued", "get", testKeyID},
			answer: keyJSON, method: "GET", path: "/v2alpha1/admin/issuedApiKeys/" + testKeyID,
		},
		"revoke": {
			args:   []string{"keys", "revoke", testKeyID, "--reason", "privilege_withdrawn", "--reason-text", "left"},
			answer: `{}`, method: "POST", path: "/v2alpha1/admin/issuedApiKeys/" + testKeyID + ":revoke",
			body: `{"reason":"REVOCATION_REASON_PRIVILEGE_WITHDRAWN","description":"left"}`,
		},
		"revoke issued": {
			args:   []string{"keys", "issued", "revoke", testKeyID, "--reason", "REVOCATION_REASON_KEY_COMPROMISE"},
			answer: `{}`, method: "POST", path: "/v2alpha1/admin/issuedApiKeys/" + testKeyID + ":revoke",
			body: `{"reason":"REVOCATION_REASON_KEY_COMPROMISE"}`,
		},
		"verify": {
			args:   []string{"keys", "verify", "-", "--no-cache"},
			stdin:  testSecret + "\r\n",
			answer: validJSON, method: "POST", path: "/v2alpha1/admin/apiKeys:verify",
			body: `{"credential":"` + testSecret + `"}`, noCache: true,
		},
		"batch-verify": {
			args:   []string{"keys", "batch-verify", "-", "last"},
			stdin:  "with space \n\n" + testSecret,
			answer: `{"results":[` + validJSON + `,` + validJSON + `,` + validJSON + `]}`,
			method: "POST", path: "/v2alpha1/admin/apiKeys:batchVerify",
			body: `{"requests":[{"credential":"with space "},{"credential":"` + testSecret + `"},` +
				`{"credential":"last"}]}`,
		},
		"self-revoke": {
			args:   []string{"keys", "self-revoke", "--", "-starts-with-a-dash"},
			answer: `{}`, method: "POST", path: "/v2alpha1/apiKeys:selfRevoke",
			body: `{"credential":"-starts-with-a-dash"}`,
		},
		"issue with a rate limit": {
			args: []string{
				"keys", "issue", "ci", "--actor", "bot", "--rate-limit-quota", "100", "--rate-limit-window", "1h",
			},
			answer: issueJSON, method: "POST", path: "/v2alpha1/admin/issuedApiKeys",
			body: `{"name":"ci","actor_id":"bot","rate_limit_policy":{"quota":"100","window":"1h"}}`,
		},
		"issue with a rate limit in the usual window": {
			args:   []string{"keys", "issue", "ci", "--actor", "bot", "--rate-limit-quota", "100"},
			answer: issueJSON, method: "POST", path: "/v2alpha1/admin/issuedApiKeys",
			body: `{"name":"ci","actor_id":"bot","rate_limit_policy":{"quota":"100","window":"60s"}}`,
		},
		"list": {
			args: []string{
				"keys", "issued", "list", "--actor", `a "b" \ c`, "--status", "REVOKED", "--page-size", "7",
				"--page-token", "t=&",
			},
			answer: `{}`, method: "GET",
			path: `/v2alpha1/admin/issuedApiKeys` +
				`?filter=actor_id%3D%22a+%5C%22b%5C%22+%5C%5C+c%22+AND+status%3DKEY_STATUS_REVOKED` +
				`&page_size=7&page_token=t%3D%26`,
		},
		"list of imported": {
			args:   []string{"keys", "imported", "list", "--status", "KEY_STATUS_EXPIRED"},
			answer: `{}`, method: "GET", path: `/v2alpha1/admin/importedApiKeys?filter=status%3DKEY_STATUS_EXPIRED`,
		},
		"list of unused": {
			args: []string{
				"keys", "imported", "list", "--status", "active", "--unused-for", "2026-08-01T02:00:00+02:00",
			},
			answer: `{}`, method: "GET",
			path: `/v2alpha1/admin/importedApiKeys?filter=status%3DKEY_STATUS_ACTIVE+AND+` +
				`last_used_time%3C%222026-08-01T00%3A00%3A00Z%22`,
		},
		"update of everything": {
			args: []string{
				"keys", "issued", "update", testKeyID, "--name", "n", "--scopes", "a,b", "--metadata", `{"a": 1}`,
				"--allowed-cidrs", "10.0.0.0/8", "--rate-limit-quota", "5", "--rate-limit-window", "1m",
			},
			answer: keyJSON, method: "PATCH",
			path: "/v2alpha1/admin/issuedApiKeys/" + testKeyID +
				"?update_mask=name%2Cscopes%2Cmetadata%2Crate_limit_policy%2Cip_restriction",
			body: `{"name":"n","scopes":["a","b"],"metadata":{"a":1},` +
				`"ip_restriction":{"allowed_cidrs":["10.0.0.0/8"]},"rate_limit_policy":{"quota":"5","window":"1m"}}`,
		},
		"update that clears": {
			args: []string{
				"keys", "imported", "update", testImportedID, "--scopes", "", "--metadata", "",
				"--allowed-cidrs", "", "--rate-limit-quota", "0",
			},
			answer: importedJSON, method: "PATCH",
			path: "/v2alpha1/admin/importedApiKeys/" + testImportedID +
				"?update_mask=scopes%2Cmetadata%2Crate_limit_policy%2Cip_restriction",
			body: `{"scopes":[],"metadata":{},"ip_restriction":{}}`,
		},
		"update that clears the limit": {
			args:   []string{"keys", "issued", "update", testKeyID, "--rate-limit-quota", "0"},
			answer: keyJSON, method: "PATCH",
			path: "/v2alpha1/admin/issuedApiKeys/" + testKeyID + "?update_mask=rate_limit_policy", body: `{}`,
		},
		"update with a mask": {
			args:   []string{"keys", "issued", "update", testKeyID, "--name", "n", "--update-mask", "name,scopes"},
			answer: keyJSON, method: "PATCH",
			path: "/v2alpha1/admin/issuedApiKeys/" + testKeyID + "?update_mask=name%2Cscopes", body: `{"name":"n"}`,
		},
		"rotate": {
			args:   []string{"keys", "issued", "rotate", testKeyID},
			answer: rotateJSON, method: "POST",
			path: "/v2alpha1/admin/issuedApiKeys/" + testKeyID + ":rotate", body: `{}`,
		},
		"rotate with changes": {
			args: []string{
				"keys", "issued", "rotate", testKeyID, "--scopes", "", "--metadata", "", "--public=false",
				"--rate-limit-quota=0",
			},
			answer: rotateJSON, method: "POST", path: "/v2alpha1/admin/issuedApiKeys/" + testKeyID + ":rotate",
			body: `{"scopes":[],"metadata":{},"visibility":"KEY_VISIBILITY_SECRET","rate_limit_policy":{}}`,
		},
		"import": {
			args: []string{
				"keys", "imported", "import", "old", "--raw-key", "-", "--actor", "a", "--scopes", "x", "--ttl", "1d",
			},
			stdin: "legacy key\n", answer: importedJSON, method: "POST", path: "/v2alpha1/admin/importedApiKeys",
			body: `{"raw_key":"legacy key","name":"old","actor_id":"a","scopes":["x"],"ttl":"1d"}`,
		},
		"delete": {
			args:   []string{"keys", "imported", "delete", testImportedID},
			answer: `{}`, method: "DELETE", path: "/v2alpha1/admin/importedApiKeys/" + testImportedID,
		},
		"revoke imported": {
			args:   []string{"keys", "imported", "revoke", testImportedID},
			answer: `{}`, method: "POST",
			path: "/v2alpha1/admin/importedApiKeys/" + testImportedID + ":revoke", body: `{}`,
		},
		"revoke a key of either kind": {
			args:   []string{"keys", "revoke", testImportedID},
			answer: `{}`, method: "POST", path: "/v2alpha1/admin/importedApiKeys/" + testImportedID + ":revoke",
			body: `{}`,
		},
		"derive": {
			args: []string{
				"keys", "derive-token", "-", "--algorithm", "macaroon", "--ttl", "10m", "--scopes", "a,b",
				"--claims", `{"x": 1}`,
			},
			stdin: testSecret, answer: deriveJSON, method: "POST", path: "/v2alpha1/admin/apiKeys:derive",
			body: `{"credential":"` + testSecret + `","algorithm":"TOKEN_ALGORITHM_MACAROON","ttl":"10m",` +
				`"scopes":["a","b"],"custom_claims":{"x":1}}`,
		},
		"derive, the least": {
			args:   []string{"keys", "derive-token", "k"},
			answer: deriveJSON, method: "POST", path: "/v2alpha1/admin/apiKeys:derive", body: `{"credential":"k"}`,
		},
		"derive without scopes": {
			args:   []string{"keys", "derive-token", "k", "--scopes", ""},
			answer: deriveJSON, method: "POST", path: "/v2alpha1/admin/apiKeys:derive",
			body: `{"credential":"k","scopes":[]}`,
		},
		"events of everything": {
			args: []string{
				"events", "list", "--since", "2026-01-02T03:04:05.5+01:00", "--type", "issuedapikeyREVOKED",
				"--actor", `a "b" \ c`, "--key", testKeyID, "--limit", "7",
			},
			answer: noEventsJSON, method: "GET",
			path: `/v2alpha1/admin/events?filter=key_id%3D%22` + testKeyID +
				`%22+AND+actor_id%3D%22a+%5C%22b%5C%22+%5C%5C+c%22+AND+type%3D%22IssuedAPIKeyRevoked%22` +
				`+AND+time%3E%3D%222026-01-02T02%3A04%3A05.5Z%22&page_size=7`,
		},
		"events, the least": {
			args: []string{"events", "list"}, answer: noEventsJSON, method: "GET",
			path: "/v2alpha1/admin/events?page_size=1000",
		},
		"jwk get": {
			args:   []string{"jwk", "get"},
			answer: `{"keys":[]}`, method: "GET", path: "/v2alpha1/derivedKeys/jwks.json",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint, seen := stub(t, reply{http.StatusOK, c.answer})
			if _, stderr, err := runTree(t.Context(), c.stdin, at(endpoint, c.args)...); err != nil {
				t.Fatal(err, stderr)
			}
			got := seen.Load()
			if got.method != c.method || got.path != c.path || got.body != c.body {
				t.Errorf("sent %s %s %s\nwant %s %s %s", got.method, got.path, got.body, c.method, c.path, c.body)
			}
			if (got.header.Get("Cache-Control") == "no-cache") != c.noCache {
				t.Errorf("Cache-Control: %q", got.header.Get("Cache-Control"))
			}
		})
	}
}

// noEventsJSON is the answer of a feed without events.
const noEventsJSON = `{"feed_id":"f","position":"0","complete_age":"0s","events":[]}`

// at adds the endpoint to a command of keys or jwk, before what may end its flags.
func at(endpoint string, args []string) []string {
	return append(append(slices.Clone(args[:2]), "-e", endpoint), args[2:]...)
}
