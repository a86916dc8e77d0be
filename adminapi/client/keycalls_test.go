package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"testing"
)

func TestEachManagementCallIsWrittenAsTheContractSays(t *testing.T) {
	t.Parallel()
	name := "n"
	const record = `{"key_id":"k","rate_limit_policy":{"quota":"5","window":"60s"}}`
	key := func(k *Key, err error) error {
		if err == nil && (k.KeyID != "k" || k.RateLimitPolicy.Quota != 5) {
			t.Errorf("got %+v", k)
		}
		return err
	}
	for title, tc := range map[string]struct {
		answer string
		call   func(context.Context, *Client, CallOption) error
		asked  string
	}{
		"get": {record, func(ctx context.Context, c *Client, o CallOption) error {
			return key(c.Get(ctx, GetRequest{Kind: Imported, KeyID: "k"}, o))
		}, `GET /prefix/v2alpha1/admin/importedApiKeys/k   `},
		"import": {record, func(ctx context.Context, c *Client, o CallOption) error {
			return key(c.Import(ctx, ImportRequest{
				RawKey: "r", IssueRequest: IssueRequest{Name: "n", ActorID: "a"},
			}, o))
		}, `POST /prefix/v2alpha1/admin/importedApiKeys application/json  {"raw_key":"r","name":"n","actor_id":"a"}`},
		"list": {
			`{"imported_api_keys":[{"key_id":"k"}],"next_page_token":"t"}`,
			func(ctx context.Context, c *Client, o CallOption) error {
				page, err := c.ListPage(ctx, ListRequest{
					Kind: Imported, PageSize: 2, PageToken: "p=", Filter: `actor_id="x"`,
				}, o)
				if err == nil && (len(page.Keys) != 1 || page.Keys[0].KeyID != "k" || page.NextPageToken != "t") {
					t.Errorf("got %+v", page)
				}
				return err
			},
			`GET /prefix/v2alpha1/admin/importedApiKeys?filter=actor_id%3D%22x%22&page_size=2&page_token=p%3D   `,
		},
		"list with defaults": {`{"issued_api_keys":[]}`, func(ctx context.Context, c *Client, o CallOption) error {
			_, err := c.ListPage(ctx, ListRequest{}, o)
			return err
		}, `GET /prefix/v2alpha1/admin/issuedApiKeys   `},
		"update by mask": {record, func(ctx context.Context, c *Client, o CallOption) error {
			return key(c.Update(ctx, UpdateRequest{
				Kind: Issued, KeyID: "k", Mask: []string{PathName, PathScopes}, Name: &name,
			}, o))
		}, `PATCH /prefix/v2alpha1/admin/issuedApiKeys/k?update_mask=name%2Cscopes application/json  {"name":"n"}`},
		"update what is there": {record, func(ctx context.Context, c *Client, o CallOption) error {
			return key(c.Update(ctx, UpdateRequest{
				Kind: Imported, KeyID: "k",
				Scopes: []string{}, IPRestriction: &IPRestriction{}, RateLimitPolicy: &RateLimitPolicy{},
			}, o))
		}, `PATCH /prefix/v2alpha1/admin/importedApiKeys/k application/json  ` +
			`{"scopes":[],"ip_restriction":{},"rate_limit_policy":{}}`},
		"rotate": {
			`{"issued_api_key":{"key_id":"k"},"secret":"s","old_issued_api_key":{"key_id":"o"}}`,
			func(ctx context.Context, c *Client, o CallOption) error {
				out, err := c.Rotate(ctx, RotateRequest{KeyID: "o", Scopes: []string{}}, o)
				if err == nil && (out.IssuedAPIKey.KeyID != "k" || out.Secret != "s" ||
					out.OldIssuedAPIKey.KeyID != "o") {
					t.Errorf("got %+v", out)
				}
				return err
			},
			`POST /prefix/v2alpha1/admin/issuedApiKeys/o:rotate application/json  {"scopes":[]}`,
		},
		"delete": {`{}`, func(ctx context.Context, c *Client, o CallOption) error {
			return c.DeleteImported(ctx, "k", o)
		}, `DELETE /prefix/v2alpha1/admin/importedApiKeys/k   `},
		"derive": {
			`{"token":{"token":"t","claims":{"a":1},"expire_time":"2026-01-02T03:04:05Z"}}`,
			func(ctx context.Context, c *Client, o CallOption) error {
				out, err := c.Derive(ctx, DeriveRequest{
					Credential: "c", Algorithm: TokenAlgorithmMacaroon, TTL: "1m", Scopes: []string{},
				}, o)
				if err == nil && (out.Token != "t" || string(out.Claims) != `{"a":1}` ||
					out.ExpireTime.Year() != 2026) {
					t.Errorf("got %+v", out)
				}
				return err
			},
			`POST /prefix/v2alpha1/admin/apiKeys:derive application/json  ` +
				`{"credential":"c","algorithm":"TOKEN_ALGORITHM_MACAROON","ttl":"1m","scopes":[]}`,
		},
		"the document": {`{"openapi":"3.0.3"}`, func(ctx context.Context, c *Client, o CallOption) error {
			_, err := c.OpenAPI(ctx, o)
			return err
		}, `GET /prefix/openapi.json   `},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			c, asked := server(t, http.StatusOK, tc.answer)
			var raw json.RawMessage
			err := tc.call(t.Context(), c, Raw(&raw))
			if err != nil || string(raw) != tc.answer {
				t.Errorf("got %s and %v", raw, err)
			}
			if asked() != tc.asked {
				t.Errorf("asked\n%s\nwant\n%s", asked(), tc.asked)
			}
		})
	}
}

func TestABatchOfWhichNothingWasImportedIsAnAnswerWithItsResults(t *testing.T) {
	t.Parallel()
	const envelope = `"error":{"code":409,"message":"m","status":"ALREADY_EXISTS",` +
		`"details":[{"reason":"API_KEY_EXISTS"}]}`
	for name, tc := range map[string]struct {
		answer string
		told   bool // what came of each
	}{
		"with results": {
			`{` + envelope + `,"results":[{"index":0,"error_code":"` + string(BatchCreateErrorAlreadyExists) +
				`","error_message":"m"}],"success_count":0,"failure_count":1}`,
			true,
		},
		"without":         {`{` + envelope + `}`, false},
		"of another size": {`{` + envelope + `,"results":[{},{}]}`, false},
	} {
		c, asked := server(t, http.StatusConflict, tc.answer)
		var raw json.RawMessage
		out, err := c.BatchImport(t.Context(), []ImportRequest{{RawKey: "r"}}, Raw(&raw))
		if tc.told {
			want := []BatchCreateResult{{Index: 0, ErrorCode: BatchCreateErrorAlreadyExists, ErrorMessage: "m"}}
			if err != nil || !reflect.DeepEqual(out.Results, want) || out.FailureCount != 1 ||
				string(raw) != tc.answer {
				t.Errorf("%s: got %+v, %s, %v", name, out, raw, err)
			}
		} else if e, refused := errors.AsType[*Error](err); !refused || e.Reason != ReasonKeyExists || out != nil {
			t.Errorf("%s: got %+v, %v", name, out, err)
		}
		if want := `POST /prefix/v2alpha1/admin/importedApiKeys:batchCreate application/json  ` +
			`{"requests":[{"raw_key":"r","name":"","actor_id":""}]}`; asked() != want {
			t.Errorf("asked %s", asked())
		}
	}
}
