package apitest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

const (
	admin          = "/v2alpha1/admin/"
	newKey         = `{"name":"private name","actor_id":"user-1","scopes":["private:x"],"metadata":{"private":"note"}}`
	newImport      = `{"raw_key":"{raw}","name":"private name","actor_id":"user-1","metadata":{"private":"note"}}`
	newName        = `{"name":"private other"}`
	selfRevocation = `{"credential":"{secret}","reason":"REVOCATION_REASON_KEY_COMPROMISE"}`
	revocation     = `{"reason":"REVOCATION_REASON_PRIVILEGE_WITHDRAWN","description":"private reason"}`
)

// Changes are the operations that change keys, by method and path, with the body of a request. What a body holds beside
// the actor begins with "private". {raw} is replaced by a key to import, {secret} by the credential of an issued key.
var Changes = map[string]string{
	"POST " + admin + "issuedApiKeys":                   newKey,
	"PATCH " + admin + "issuedApiKeys/{key_id}":         newName,
	"POST " + admin + "issuedApiKeys/{key_id}:rotate":   "",
	"POST " + admin + "issuedApiKeys/{key_id}:revoke":   revocation,
	"POST " + admin + "importedApiKeys":                 newImport,
	"POST " + admin + "importedApiKeys:batchCreate":     `{"requests":[` + newImport + `,{"raw_key":"private-x"}]}`,
	"PATCH " + admin + "importedApiKeys/{key_id}":       newName,
	"DELETE " + admin + "importedApiKeys/{key_id}":      "",
	"POST " + admin + "importedApiKeys/{key_id}:revoke": revocation,
	"POST " + admin + "apiKeys/{key_id}:revoke":         revocation,

	"POST " + admin + "issuedApiKeys/{key_id}:suspend":   "",
	"POST " + admin + "issuedApiKeys/{key_id}:resume":    "",
	"POST " + admin + "importedApiKeys/{key_id}:suspend": "",
	"POST " + admin + "importedApiKeys/{key_id}:resume":  "",
	"POST " + admin + "apiKeys/{key_id}:suspend":         "",
	"POST " + admin + "apiKeys/{key_id}:resume":          "",

	"POST /v2alpha1/apiKeys:selfRevoke": selfRevocation,
}

// Change is a request that changes a key and is to succeed.
type Change struct {
	Request *http.Request

	keyID   string // of the key that it changes; empty: it makes one
	reason  string // of a revocation
	rotates bool
}

// NewChange makes a request for an operation that changes keys, by its method and path, and the key that it changes. h
// is the private surface that the keys come from.
func NewChange(t *testing.T, h http.Handler, operation string) *Change {
	t.Helper()
	body, known := Changes[operation]
	if !known {
		t.Fatal("no request is known that makes this change")
	}
	method, path, _ := strings.Cut(operation, " ")
	raw := "private raw key of " + t.Name()
	c := &Change{rotates: strings.HasSuffix(path, ":rotate")}
	var secret string
	switch {
	case strings.Contains(path, "/issuedApiKeys/"), strings.Contains(body, "{secret}"):
		made := Unmarshal[client.IssueResponse](t, postOK(t, h, admin+"issuedApiKeys", newKey))
		c.keyID, secret = made.IssuedAPIKey.KeyID, made.Secret
	case strings.Contains(path, "{key_id}"):
		made := postOK(t, h, admin+"importedApiKeys", strings.ReplaceAll(newImport, "{raw}", raw))
		c.keyID = Unmarshal[client.Key](t, made).KeyID
	}
	if before, resumes := strings.CutSuffix(path, ":resume"); resumes {
		postOK(t, h, strings.Replace(before, "{key_id}", c.keyID, 1)+":suspend", "")
	}
	body = strings.NewReplacer("{raw}", raw, "{secret}", secret).Replace(body)
	if body != "" {
		c.reason = string(Unmarshal[client.RevokeRequest](t, []byte(body)).Reason)
	}
	c.Request = Request(method, strings.Replace(path, "{key_id}", c.keyID, 1), body)
	return c
}

func postOK(t *testing.T, h http.Handler, path, body string) []byte {
	t.Helper()
	w := Post(h, path, body)
	if w.Code != http.StatusOK {
		t.Fatalf("POST %s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// WantLogged checks that a log has one line, which tells of the change, and nothing private. ids are those of the keys
// that the answer names, and others what the line has beside what each change has.
func (c *Change) WantLogged(
	t *testing.T, logs *observer.ObservedLogs, message string, ids []string, others map[string]any,
) {
	t.Helper()
	want := maps.Clone(others)
	want["result"] = "ok"
	switch {
	case c.keyID == "":
		want["key_id"] = ids[0]
	case c.rotates:
		want["key_id"], want["new_key_id"] = c.keyID, ids[0]
	default:
		want["key_id"] = c.keyID
	}
	if c.reason != "" {
		want["reason"] = c.reason
	}
	WantNoPrivateText(t, logs)
	WantLine(t, logs, zap.InfoLevel, message, want)
}

// KeyIDs are the ids of the keys in an answer, in order.
func KeyIDs(t *testing.T, answer []byte) (ids []string) {
	t.Helper()
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			if id, ok := v["key_id"].(string); ok {
				ids = append(ids, id)
			}
			for name, field := range v {
				if name != "metadata" && name != "old_issued_api_key" {
					walk(field)
				}
			}
		}
	}
	walk(Unmarshal[any](t, answer))
	return ids
}

// WantNoPrivateText fails when a log has what belongs to a key or to its owner.
func WantNoPrivateText(t *testing.T, logs *observer.ObservedLogs) {
	t.Helper()
	for _, e := range logs.All() {
		line, err := json.Marshal(e.ContextMap())
		if err != nil {
			t.Fatal(err)
		}
		text := e.Message + string(line)
		if slices.ContainsFunc([]string{"private", "_v1_"}, func(s string) bool { return strings.Contains(text, s) }) {
			t.Errorf("the log has %s", text)
		}
	}
}

// WantLine checks the one line that a log has.
func WantLine(t *testing.T, logs *observer.ObservedLogs, level zapcore.Level, message string, fields map[string]any) {
	t.Helper()
	all := logs.All()
	if len(all) != 1 {
		t.Fatalf("the log has %d lines: %v", len(all), all)
	}
	if e := all[0]; e.Level != level || e.Message != message {
		t.Errorf("got %s %q, want %s %q", e.Level, e.Message, level, message)
	}
	got := all[0].ContextMap()
	for name, want := range fields {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("the line also has %v", got)
	}
}
