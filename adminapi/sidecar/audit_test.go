package sidecar

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
)

// changes are the operations of the API that change keys, by method and path.
func changes(t *testing.T, h http.Handler) map[string]*adminapi.Operation {
	t.Helper()
	type document struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	found := map[string]*adminapi.Operation{}
	d := apitest.Unmarshal[document](t, apitest.Get(h, "/openapi.json").Body.Bytes())
	for path, methods := range d.Paths {
		for method := range methods {
			method = strings.ToUpper(method)
			route, _ := adminapi.Find(strings.Replace(path, "{key_id}", unknownUUID, 1))
			if op := route.Of(method); op.Changes != 0 {
				found[method+" "+path] = op
			}
		}
	}
	return found
}

func TestEachChangeThatPassesIsOneLineOfTheSidecarsAuditLog(t *testing.T) {
	t.Parallel()
	all := changes(t, newSidecarNode(t).admin)
	if len(all) < len(apitest.Changes) {
		t.Fatalf("%d operations", len(all))
	}
	for name, op := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prepare, known := apitest.Changes[name]
			if !known {
				t.Fatal("no request is known that makes this change")
			}
			s := newSidecarNode(t)
			c := prepare(t, s.node.admin)
			w := apitest.Serve(s.admin, c.Request)
			if w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			want := map[string]any{
				"operation": op.Name, "client_ip": "192.0.2.7", "user": "operator-1", "request_id": "request-1",
				"result": "ok",
			}
			maps.Copy(want, c.Logged)
			ids := apitest.KeyIDs(t, w.Body.Bytes())
			if len(ids) > 0 { // of a revocation or a deletion the upstream does not say whose key it was
				want["actor_id"] = "user-1"
			}
			switch {
			case c.Logged == nil:
				want["key_id"] = ids[0]
			case op.Changes&adminapi.CreatesKeys != 0:
				want["new_key_id"] = ids[0]
			}
			apitest.WantNoPrivateText(t, s.audit)
			apitest.WantLine(t, s.audit, zap.InfoLevel, op.Message, want)
		})
	}
}

func TestWhatDidNotSucceedThereIsNoLineOfTheSidecarsAuditLog(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	id := s.issue(t, "").IssuedAPIKey.KeyID
	try := func(when string) {
		t.Helper()
		for _, r := range []*http.Request{
			apitest.Request(http.MethodGet, issuedPath+"/"+id, ""),
			apitest.Request(http.MethodPost, issuedPath, `{}`),
			apitest.Request(http.MethodPost, issuedPath+"/"+unknownUUID+":revoke", ""),
			apitest.Request(http.MethodDelete, importedPath+"/"+id, ""),
			apitest.Request(http.MethodPost, selfRevokePath, `{"credential":"guess"}`),
		} {
			if w := apitest.Serve(s.admin, r); s.audit.FilterLevelExact(zap.InfoLevel).Len() > 0 {
				t.Fatalf("%s, %s %s: %d, and the log has %v", when, r.Method, r.URL, w.Code, s.audit.All())
			}
		}
	}
	try("refused there")
	s.set(func() { s.down = errors.New("down") })
	try("no answer")
}

// An upstream of another kind may have operations that the API does not have, and answer as it likes.
func TestTheAuditLogRelaysNothingButKeyIDsOfWhatAnUpstreamAnswers(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	for path, tc := range map[string]struct {
		answer, message string
		want            map[string]any
	}{
		issuedPath: {
			`{"issued_api_key":{"key_id":"private _v1_ echo","actor_id":"user-1"},"secret":"private"}`, "key issued",
			map[string]any{"operation": "issue", "actor_id": "user-1"},
		},
		importedPath: {
			`private`, "key imported", map[string]any{"operation": "import"},
		},
		issuedPath + "/" + unknownUUID + ":suspend": {
			`{"private":1}`, "key changed", map[string]any{"operation": "other", "key_id": unknownUUID},
		},
	} {
		s.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, tc.answer)
		})
		s.audit.TakeAll()
		w := apitest.Post(s.admin, path, `{"name":"private"}`)
		if w.Code != http.StatusCreated || w.Body.String() != tc.answer {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		apitest.WantNoPrivateText(t, s.audit)
		maps.Copy(tc.want, map[string]any{
			"client_ip": "192.0.2.7", "user": "operator-1", "request_id": "request-1", "result": "ok",
		})
		apitest.WantLine(t, s.audit, zap.InfoLevel, tc.message, tc.want)
	}
}

func TestACallerThatGoesAwayLeavesTheLineOfItsChange(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	id := s.issue(t, "").IssuedAPIKey.KeyID
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	apitest.Serve(s.admin, apitest.Request(http.MethodPost, issuedPath+"/"+id+":revoke", "").WithContext(ctx))
	if s.audit.FilterMessage("key revoked").Len() != 1 {
		t.Errorf("the log has %v", s.audit.All())
	}
}

func TestThePageOfASidecarIsItsOwn(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	s.answers(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s passed", r.URL) })
	r := apitest.Request(http.MethodGet, "/", "")
	r.Header.Set("Accept", "text/html")
	w := apitest.Serve(s.admin, r)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "<h1>Talos Edge</h1>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
