package adminapi

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
)

func TestAMalformedBodyIsRefusedAndNothingIsWritten(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for name, body := range map[string]string{
		"cut off":              `{"name":"n","actor_id":"a"`,
		"a second value":       `{"name":"n","actor_id":"a"}{}`,
		"text after it":        `{"name":"n","actor_id":"a"} x`,
		"an array":             `[{"name":"n","actor_id":"a"}]`,
		"a string":             `"name"`,
		"null":                 `null`,
		"a form":               `name=n&actor_id=a`,
		"single quotes":        `{'name':'n','actor_id':'a'}`,
		"a comma at the end":   `{"name":"n","actor_id":"a",}`,
		"invalid UTF-8":        "{\"name\":\"\xff\",\"actor_id\":\"a\"}",
		"a byte order mark":    "\xef\xbb\xbf{\"name\":\"n\",\"actor_id\":\"a\"}",
		"an object as a name":  `{"name":{},"actor_id":"a"}`,
		"a number as an actor": `{"name":"n","actor_id":7}`,
		"a field twice":        `{"name":"n","actor_id":"a","actor_id":"root"}`,
		"in another case":      `{"name":"n","actor_id":"a","ACTOR_ID":"root"}`,
		"with an escape":       `{"name":"n","actor_id":"a","actor_i\u0064":"root"}`,
		"in letters that fold": `{"name":"n","actor_id":"a","scopes":[],"ſcopes":["admin"]}`,
		"twice where unknown":  `{"name":"n","actor_id":"a","x":{"y":1,"y":2}}`,
		"nested a million deep": `{"name":"n","actor_id":"a","x":` +
			strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000) + `}`,
		"nested too deep": `{"name":"n","actor_id":"a","x":` +
			strings.Repeat("[", 1100) + strings.Repeat("]", 1100) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apitest.WantError(t, apitest.Post(n.admin, issuedPath, body), http.StatusBadRequest, core.BadRequest)
			if n.store.Written() != 0 {
				t.Error("something was written")
			}
		})
	}
}

func TestMetadataMayHoldNamesThatDifferInCaseOnly(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := n.issue(t, `,"metadata":{"plan":1,"Plan":2,"x":{"a":1,"A":2}}`)
	if got := string(k.IssuedAPIKey.Metadata); got != `{"plan":1,"Plan":2,"x":{"a":1,"A":2}}` {
		t.Errorf("got %s", got)
	}
}

func TestAnErrorNamesTheFieldAndNeverRepeatsItsValue(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for body, field := range map[string]string{
		`{"credential":12345678}`:     "credential: must be a string",
		`{"credential":["12345678"]}`: "credential: must be a string",
		`{"credential":"x","12345678` + strings.Repeat("x", 64) + `":1,` +
			`"12345678` + strings.Repeat("x", 64) + `":1}`: "a duplicate field",
	} {
		e := apitest.WantError(t, apitest.Post(n.admin, anyPath+":verify", body),
			http.StatusBadRequest, core.BadRequest)
		if !strings.Contains(e.Message, field) || strings.Contains(e.Message, "12345678") {
			t.Errorf("%s: got %q", body, e.Message)
		}
	}
	w := apitest.Post(n.admin, anyPath+":batchVerify", `{"requests":[{"credential":1}]}`)
	e := apitest.WantError(t, w, http.StatusBadRequest, core.BadRequest)
	if !strings.Contains(e.Message, "requests.credential") {
		t.Errorf("got %q", e.Message)
	}
	if strings.Contains(n.logs.String(), "12345678") {
		t.Error("the log repeats the value")
	}
}

func TestABodyThatIsTooLongIsRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for path, limit := range map[string]int{
		issuedPath: maxBody, anyPath + ":verify": maxBody, anyPath + ":batchVerify": maxBody,
		issuedPath + "/" + unknownUUID + ":revoke": maxBody, selfRevokePath: maxSelfRevokeBody,
	} {
		frame := len(`{"x":""}`)
		long := `{"x":"` + strings.Repeat("x", limit+1-frame) + `"}`
		chunked := apitest.Request(http.MethodPost, path, long)
		chunked.ContentLength = -1
		apitest.WantError(t, apitest.Serve(n.admin, chunked), http.StatusRequestEntityTooLarge, core.BadRequest)
		apitest.WantError(t, apitest.Post(n.admin, path, long), http.StatusRequestEntityTooLarge, core.BadRequest)
		if w := apitest.Post(n.admin, path, long[:6]+long[7:]); w.Code == http.StatusRequestEntityTooLarge {
			t.Errorf("%s: a body of %d bytes is too long", path, limit)
		}
	}
	if n.store.Written() != 0 {
		t.Error("something was written")
	}
}

func TestAttack16_AWebPageCannotPostWithoutAskingFirst(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const body = `{"name":"n","actor_id":"a"}`
	try := func(header http.Header) int {
		r := apitest.Request(http.MethodPost, issuedPath, body)
		r.Header = header
		return apitest.Serve(n.admin, r).Code
	}
	for _, contentType := range []string{
		"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
		"text/plain; application/json", "text/json", "application/jsonp", "application/json; charset=latin1",
		"application/json, text/plain", "*/*", "", "application/json;charset", "application/ld+json",
	} {
		if code := try(http.Header{"Content-Type": {contentType}}); code != http.StatusBadRequest {
			t.Errorf("Content-Type %q: got %d", contentType, code)
		}
	}
	// A browser leaves the type out when a script sends a Blob without one; it never leaves these out.
	for _, name := range []string{"Origin", "Sec-Fetch-Site"} {
		if code := try(http.Header{name: {"null"}}); code != http.StatusBadRequest {
			t.Errorf("without a type, with %s: got %d", name, code)
		}
	}
	code := try(http.Header{"Content-Type": {"application/json", "application/json"}})
	if code != http.StatusBadRequest {
		t.Errorf("two types: got %d", code)
	}
	if n.store.Written() != 0 {
		t.Fatal("something was written")
	}
	for _, header := range []http.Header{
		{},
		{"Content-Type": {"application/json"}},
		{"Content-Type": {"Application/JSON; charset=UTF-8"}},
		{"Content-Type": {`application/json;charset="utf-8"`}, "Origin": {"https://console.example"}},
	} {
		if code := try(header); code != http.StatusOK {
			t.Errorf("%v: got %d", header, code)
		}
	}
}

func TestAttack16_AWebPageCannotRevokeWithAnEmptyBody(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	r := apitest.Request(http.MethodPost, anyPath+"/"+n.issue(t, "").IssuedAPIKey.KeyID+":revoke", "")
	r.Header.Set("Origin", "https://evil.example")
	apitest.WantError(t, apitest.Serve(n.admin, r), http.StatusBadRequest, core.BadRequest)
}

// FuzzDecode checks that decoding never panics, refuses with a bad request only, and reads what is written.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"", "{}", "null", `{"name":"n","actor_id":"a","scopes":["a"],"ttl":"1h","metadata":{"a":[1,{"b":null}]}}`,
		`{"rate_limit_policy":{"quota":"1","window":"60s"},"ip_restriction":{"allowed_cidrs":["::/0"]}}`,
		`{"name":"a","Name":"b"}`, `{"metadata":{"a":1,"a":2}}`,
		`{"rate_limit_policy":{"quota":1.5}}`, "{\"\\ud800\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var in client.IssueRequest
		if err := body.Object(text, &in); err != nil {
			if core.ReasonOf(err) != core.BadRequest {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		written := []byte(apitest.Marshal(t, in))
		var again client.IssueRequest
		if err := body.Object(written, &again); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if again.Metadata, in.Metadata = nil, nil; !reflect.DeepEqual(normal(again), normal(in)) {
			t.Fatalf("%+v became %+v", in, again)
		}
	})
}

// normal is a request without the difference between empty and absent.
func normal(r client.IssueRequest) client.IssueRequest {
	if len(r.Scopes) == 0 {
		r.Scopes = nil
	}
	if r.IPRestriction != nil && len(r.IPRestriction.AllowedCIDRs) == 0 {
		r.IPRestriction.AllowedCIDRs = nil
	}
	return r
}
