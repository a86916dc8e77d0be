package apitest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// Change is a request that changes a key, and is to succeed. What it holds beside the actor begins with "private", and
// no log may have it.
type Change struct {
	Request *http.Request
	Logged  map[string]any // what its line in the audit log has, beside what each line has
}

const (
	newKey      = `{"name":"private name","actor_id":"user-1","scopes":["private:x"],"metadata":{"private":"note"}}`
	importedKey = `{"raw_key":"RAW","name":"private name","actor_id":"user-1","metadata":{"private":"note"}}`
)

// Changes make a request for each operation that changes keys, by method and path. h is the private surface that the
// keys come from.
var Changes = map[string]func(t *testing.T, h http.Handler) Change{
	"POST /v2alpha1/admin/issuedApiKeys": func(*testing.T, http.Handler) Change {
		return Change{Request(http.MethodPost, "/v2alpha1/admin/issuedApiKeys", newKey), nil}
	},
	"PATCH /v2alpha1/admin/issuedApiKeys/{key_id}": func(t *testing.T, h http.Handler) Change {
		t.Helper()
		id, _ := issued(t, h)
		return update("issuedApiKeys", id)
	},
	"POST /v2alpha1/admin/issuedApiKeys/{key_id}:rotate": func(t *testing.T, h http.Handler) Change {
		t.Helper()
		id, _ := issued(t, h)
		return Change{Request(http.MethodPost, "/v2alpha1/admin/issuedApiKeys/"+id+":rotate", ""), key(id)}
	},
	"POST /v2alpha1/admin/issuedApiKeys/{key_id}:revoke": func(t *testing.T, h http.Handler) Change {
		t.Helper()
		id, _ := issued(t, h)
		return revoke("issuedApiKeys", id)
	},
	"POST /v2alpha1/admin/importedApiKeys": func(t *testing.T, _ http.Handler) Change {
		t.Helper()
		return Change{Request(http.MethodPost, "/v2alpha1/admin/importedApiKeys", rawKey(t)), nil}
	},
	"POST /v2alpha1/admin/importedApiKeys:batchCreate": func(t *testing.T, _ http.Handler) Change {
		t.Helper()
		body := `{"requests":[` + rawKey(t) + `,{"raw_key":"private-x"}]}`
		return Change{Request(http.MethodPost, "/v2alpha1/admin/importedApiKeys:batchCreate", body), nil}
	},
	"PATCH /v2alpha1/admin/importedApiKeys/{key_id}": func(t *testing.T, h http.Handler) Change {
		t.Helper()
		id := imported(t, h)
		return update("importedApiKeys", id)
	},
	"DELETE /v2alpha1/admin/importedApiKeys/{key_id}": func(t *testing.T, h http.Handler) Change {
		t.Helper()
		id := imported(t, h)
		return Change{Request(http.MethodDelete, "/v2alpha1/admin/importedApiKeys/"+id, ""), key(id)}
	},
	"POST /v2alpha1/admin/importedApiKeys/{key_id}:revoke": func(t *testing.T, h http.Handler) Change {
		t.Helper()
		return revoke("importedApiKeys", imported(t, h))
	},
	"POST /v2alpha1/admin/apiKeys/{key_id}:revoke": func(t *testing.T, h http.Handler) Change {
		t.Helper()
		return revoke("apiKeys", imported(t, h))
	},
	"POST /v2alpha1/apiKeys:selfRevoke": func(t *testing.T, h http.Handler) Change {
		t.Helper()
		id, secret := issued(t, h)
		body := `{"credential":"` + secret + `","reason":"REVOCATION_REASON_KEY_COMPROMISE"}`
		c := Change{Request(http.MethodPost, "/v2alpha1/apiKeys:selfRevoke", body), key(id)}
		c.Logged["reason"] = "REVOCATION_REASON_KEY_COMPROMISE"
		return c
	},
}

func key(id string) map[string]any { return map[string]any{"key_id": id} }

func update(kind, id string) Change {
	return Change{Request(http.MethodPatch, "/v2alpha1/admin/"+kind+"/"+id, `{"name":"private other"}`), key(id)}
}

func revoke(kind, id string) Change {
	c := Change{Request(http.MethodPost, "/v2alpha1/admin/"+kind+"/"+id+":revoke",
		`{"reason":"REVOCATION_REASON_PRIVILEGE_WITHDRAWN","description":"private reason"}`), key(id)}
	c.Logged["reason"] = "REVOCATION_REASON_PRIVILEGE_WITHDRAWN"
	return c
}

// rawKey is the body of an import, of another key in each test.
func rawKey(t *testing.T) string {
	t.Helper()
	return strings.ReplaceAll(importedKey, "RAW", "private raw key of "+t.Name())
}

func issued(t *testing.T, h http.Handler) (id, secret string) {
	t.Helper()
	out := Unmarshal[client.IssueResponse](t, wantOK(t, h, "/v2alpha1/admin/issuedApiKeys", newKey))
	return out.IssuedAPIKey.KeyID, out.Secret
}

func imported(t *testing.T, h http.Handler) (id string) {
	t.Helper()
	return Unmarshal[client.Key](t, wantOK(t, h, "/v2alpha1/admin/importedApiKeys", rawKey(t))).KeyID
}

func wantOK(t *testing.T, h http.Handler, path, body string) []byte {
	t.Helper()
	w := Post(h, path, body)
	if w.Code != http.StatusOK {
		t.Fatalf("POST %s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.Bytes()
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
		t.Errorf("beside what is wanted, the line has %v", got)
	}
}
