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

func TestEachChangeThatPassesIsOneLineOfTheSidecarsAuditLog(t *testing.T) {
	t.Parallel()
	for name := range apitest.Changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			method, path, _ := strings.Cut(name, " ")
			route, _ := adminapi.Find(strings.Replace(path, "{key_id}", unknownUUID, 1))
			op := route.Of(method)
			s := newSidecarNode(t)
			c := apitest.NewChange(t, s.node.admin, name)
			w := apitest.Serve(s.admin, c.Request)
			if w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			others := map[string]any{
				"operation": op.Name, "client_ip": "192.0.2.7", "user": "operator-1", "request_id": "request-1",
			}
			ids := apitest.KeyIDs(t, w.Body.Bytes())
			if len(ids) > 0 { // of a revocation or a deletion the upstream does not say whose key it was
				others["actor_id"] = "user-1"
			}
			c.WantLogged(t, s.audit, op.Message, ids, others)
		})
	}
}

func TestAFailedChangeIsNotInTheSidecarsAuditLog(t *testing.T) {
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
		issuedPath + "/" + unknownUUID + ":archive": {
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
