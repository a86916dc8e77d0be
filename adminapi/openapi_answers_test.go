package adminapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
)

// resolve is the schema that a schema names.
func (d *document) resolve(s *docSchema) docSchema {
	switch {
	case len(s.AllOf) == 1:
		return d.resolve(&s.AllOf[0])
	case s.Ref != "":
		return d.Components.Schemas[s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]]
	default:
		return *s
	}
}

// check finds what an answer has and the document does not, and what the document requires and an answer lacks.
func (d *document) check(s *docSchema, value any, at string) (problems []string) {
	schema := d.resolve(s)
	switch v := value.(type) {
	case []any:
		if schema.Items == nil {
			return []string{at + " is not documented as an array"}
		}
		for i, item := range v {
			problems = append(problems, d.check(schema.Items, item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		for _, name := range schema.Required {
			if _, ok := v[name]; !ok {
				problems = append(problems, at+"."+name+" is required and is not there")
			}
		}
		for name, field := range v {
			if p, ok := schema.Properties[name]; ok {
				problems = append(problems, d.check(&p, field, at+"."+name)...)
			} else if schema.AdditionalProperties == nil {
				problems = append(problems, at+"."+name+" is not documented")
			}
		}
	case string:
		if schema.Type != "string" || len(schema.Enum) > 0 && !slices.Contains(schema.Enum, v) {
			problems = append(problems, at+" is not documented as the text "+v)
		}
	}
	return problems
}

// Programs that generators make of the document rely on what it requires of an answer, and lose what it does not name.
func TestEveryAnswerIsWhatTheDocumentSays(t *testing.T) {
	t.Parallel()
	d, n := readDocument(t), newNode(t)
	seen := map[string]bool{}
	try := func(method, path, body, operation string) *httptest.ResponseRecorder {
		t.Helper()
		w := apitest.Serve(n.admin, apitest.Request(method, path, body))
		var value any
		if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
			t.Fatal(err)
		}
		d.operations(func(_ string, o *docOperation) {
			if o.ID != operation {
				return
			}
			seen[operation] = true
			answer := o.Responses["200"]
			if w.Code != http.StatusOK {
				answer = d.Components.Responses["Error"]
			}
			s := answer.Content["application/json"].Schema
			for _, problem := range d.check(&s, value, operation) {
				t.Errorf("%d: %s", w.Code, problem)
			}
		})
		return w
	}
	const fields = `"name":"n","actor_id":"a"`
	issued := n.issue(t, `,"scopes":["x"],"ttl":"2h","metadata":{"k":1},"rate_limit_policy":{"quota":5,"window":"1m"},`+
		`"ip_restriction":{"allowed_cidrs":["192.0.2.0/24"]}`)
	id, credential := issued.IssuedAPIKey.KeyID, `{"credential":"`+issued.Secret+`"}`

	for range 2 { // the second answer is without a secret
		try(http.MethodPost, issuedPath, `{`+fields+`,"request_id":"1"}`, "adminIssueApiKey")
	}
	try(http.MethodPost, issuedPath, `{}`, "adminIssueApiKey")
	try(http.MethodGet, issuedPath+"?page_size=1", "", "adminListIssuedApiKeys")
	try(http.MethodGet, importedPath, "", "adminListImportedApiKeys") // none
	try(http.MethodGet, issuedPath+"/"+id, "", "adminGetIssuedApiKey")
	try(http.MethodPatch, issuedPath+"/"+id, `{"name":"m"}`, "adminUpdateIssuedApiKey")

	imported := try(http.MethodPost, importedPath, `{"raw_key":"raw",`+fields+`}`, "adminImportApiKey")
	path := importedPath + "/" + apitest.Unmarshal[client.Key](t, imported.Body.Bytes()).KeyID
	try(http.MethodPost, batchPath, `{"requests":[{"raw_key":"raw",`+fields+`},{"raw_key":"other",`+fields+`}]}`,
		"adminBatchCreateImportedApiKeys")
	try(http.MethodGet, path, "", "adminGetImportedApiKey")
	try(http.MethodPatch, path, `{"name":"m"}`, "adminUpdateImportedApiKey")

	try(http.MethodPost, anyPath+":verify", credential, "adminVerifyApiKey")
	try(http.MethodPost, anyPath+":verify", `{"credential":"nothing"}`, "adminVerifyApiKey")
	try(http.MethodPost, anyPath+":batchVerify", `{"requests":[`+credential+`,{}]}`, "adminBatchVerifyApiKeys")
	try(http.MethodPost, derivePath, credential, "adminDeriveToken")
	try(http.MethodPost, derivePath, `{"credential":"raw"}`, "adminDeriveToken") // of a key without scopes
	try(http.MethodGet, jwksPath, "", "getJwks")

	for collection, kind := range map[string]string{
		issuedPath + "/" + id: "IssuedApiKey", path: "ImportedApiKey", anyPath + "/" + id: "ApiKey",
	} {
		for range 2 { // the second time it is refused
			try(http.MethodPost, collection+":suspend", "", "adminSuspend"+kind)
		}
		for range 2 {
			try(http.MethodPost, collection+":resume", "", "adminResume"+kind)
		}
	}

	fresh := try(http.MethodPost, issuedPath+"/"+id+":rotate", "", "adminRotateIssuedApiKey")
	try(http.MethodPost, issuedPath+"/"+id+":revoke", "", "adminRevokeIssuedApiKey")
	try(http.MethodPost, path+":revoke", "", "adminRevokeImportedApiKey")
	try(http.MethodDelete, path, "", "adminDeleteImportedApiKey")
	try(http.MethodPost, anyPath+"/"+id+":revoke", "", "adminRevokeApiKey")
	secret := apitest.Unmarshal[client.RotateResponse](t, fresh.Body.Bytes()).Secret
	try(http.MethodPost, selfRevokePath, `{"credential":"`+secret+`"}`, "revokeApiKey")

	try(http.MethodPost, reportPath, `{"edge_id":"e","last_used":[{"key_id":"k","time":"2026-08-01T00:00:00Z"}]}`,
		"adminReportUse")
	try(http.MethodPost, reportPath, `{"last_used":1}`, "adminReportUse")
	try(http.MethodGet, eventsPath+"?page_size=1", "", "adminListEvents") // there are more
	try(http.MethodGet, eventsPath, "", "adminListEvents")
	try(http.MethodGet, eventsPath+"?after=1000", "", "adminListEvents") // a reset
	n.acknowledge(t, "edge", 1, "User-Agent", "talos/v1", client.EdgeViaHeader, "between")
	try(http.MethodGet, edgesPath, "", "adminListEdges")
	event := docSchema{Ref: "#/components/schemas/Event"}
	stream := readStream(t, n.watchOnce(t, eventsPath+":watch").Body.String())
	for _, message := range stream {
		for _, problem := range d.check(&event, apitest.Unmarshal[any](t, []byte(message.data)), "adminWatchEvents") {
			t.Error(problem)
		}
	}
	seen["adminWatchEvents"] = len(stream) > 0

	try(http.MethodGet, alivePath, "", "isAlive")
	try(http.MethodGet, readyPath, "", "isReady")
	try(http.MethodGet, openAPIPath, "", "getOpenApi")
	d.operations(func(name string, o *docOperation) {
		if !seen[o.ID] {
			t.Errorf("%s was not tried", name)
		}
	})
}
