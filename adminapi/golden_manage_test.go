package adminapi

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
)

func TestEveryAnswerOfKeyManagementIsWrittenAsTheContractSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the clock starts at 2000-01-01T00:00:00Z
		n := newNode(t)
		const times = `"create_time":"2000-01-01T00:00:00Z","update_time":"2000-01-01T00:00:00Z"`
		const record = `{"key_id":"$ID","name":"n","actor_id":"a","scopes":["x"],"metadata":{"k":1},` +
			`"visibility":"KEY_VISIBILITY_SECRET","status":"KEY_STATUS_ACTIVE",` +
			`"rate_limit_policy":{"quota":"5","unit":"u","window":"60s"},` + times + `}`
		const bare = `{"key_id":"$ID","name":"n","actor_id":"a","visibility":"KEY_VISIBILITY_SECRET",` +
			`"status":"KEY_STATUS_ACTIVE",` + times + `}`
		const fields = `"name":"n","actor_id":"a","scopes":["x"],"metadata":{ "k":1 },` +
			`"rate_limit_policy":{"quota":5,"unit":"u","window":"1m"}}`
		const none = "\x00"

		w := apitest.Post(n.admin, importedPath, `{"raw_key":"raw",`+fields)
		id := apitest.Unmarshal[client.Key](t, w.Body.Bytes()).KeyID
		golden(t, w, 200, id, none, record)
		golden(t, apitest.Get(n.admin, importedPath), 200, id, none, `{"imported_api_keys":[`+record+`]}`)
		golden(t, apitest.Post(n.admin, batchPath, `{"requests":[{"raw_key":"raw",`+fields+`,{}]}`), 409, id, none,
			`{"error":{"code":409,"message":"none of the keys could be imported; the first: `+
				`this key has been imported already","status":"ALREADY_EXISTS","details":[{"@type":`+
				`"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_EXISTS","domain":"www.ory.com/talos"}]},`+
				`"results":[{"index":0,"error_code":"BATCH_CREATE_IMPORTED_API_KEYS_ERROR_ALREADY_EXISTS",`+
				`"error_message":"this key has been imported already"},{"index":1,"error_code":`+
				`"BATCH_CREATE_IMPORTED_API_KEYS_ERROR_INVALID_ARGUMENT","error_message":"raw_key: is required"}],`+
				`"success_count":0,"failure_count":2}`)
		golden(t, apitest.Patch(n.admin, importedPath+"/"+id, "scopes,metadata,rate_limit_policy", ""),
			200, id, none, bare)
		golden(t, apitest.Serve(n.admin, apitest.Request("DELETE", importedPath+"/"+id, "")), 200, id, none, `{}`)
		golden(t, apitest.Get(n.admin, importedPath), 200, id, none, `{"imported_api_keys":[]}`)
		w = apitest.Post(n.admin, batchPath, `{"requests":[{"raw_key":"raw",`+fields+`]}`)
		golden(t, w, 200, id, none, `{"results":[{"index":0,"imported_api_key":`+record+`}],`+
			`"success_count":1,"failure_count":0}`)

		old := n.issue(t, "").IssuedAPIKey.KeyID
		w = apitest.Post(n.admin, issuedPath+"/"+old+":rotate", "")
		fresh := apitest.Unmarshal[client.RotateResponse](t, w.Body.Bytes())
		golden(t, w, 200, fresh.IssuedAPIKey.KeyID, fresh.Secret, `{"issued_api_key":`+
			strings.TrimSuffix(bare, "}")+`,"predecessor_key_id":"`+old+`"},"secret":"$SECRET",`+
			`"old_issued_api_key":{"key_id":"`+old+`","name":"n","actor_id":"a","visibility":"KEY_VISIBILITY_SECRET",`+
			`"status":"KEY_STATUS_REVOKED",`+times+`,"successor_key_id":"$ID",`+
			`"revocation_reason":"REVOCATION_REASON_SUPERSEDED"}}`)

		w = apitest.Post(n.admin, derivePath, `{"credential":"raw","algorithm":"TOKEN_ALGORITHM_MACAROON","ttl":"60s"}`)
		token := apitest.Unmarshal[client.DeriveResponse](t, w.Body.Bytes()).Token
		golden(t, w, 200, string(token.Claims), token.Token,
			`{"token":{"token":"$SECRET","expire_time":"2000-01-01T00:01:00Z","scopes":["x"],"claims":$ID}}`)
	})
}
