package adminapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

func TestEachChangeIsOneLineOfTheAuditLog(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		if op.Changes == 0 {
			continue
		}
		name := op.Method + " " + op.Path
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			c := apitest.NewChange(t, n.admin, name)
			n.audit.TakeAll()
			w := apitest.Serve(n.admin, c.Request)
			if w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			c.WantLogged(t, n.audit, op.Message, apitest.KeyIDs(t, w.Body.Bytes()), map[string]any{
				"operation": op.Name, "actor_id": "user-1", "client_ip": "192.0.2.7", "user": "operator-1",
				"request_id": "request-1",
			})
		})
	}
}

func TestWhatChangesNothingIsNotInTheAuditLog(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := n.issue(t, "")
	n.audit.TakeAll()
	id := k.IssuedAPIKey.KeyID
	for _, r := range []*http.Request{
		apitest.Request(http.MethodGet, issuedPath, ""),
		apitest.Request(http.MethodGet, issuedPath+"/"+id, ""),
		apitest.Request(http.MethodPost, anyPath+":verify", `{"credential":"`+k.Secret+`"}`),
		apitest.Request(http.MethodPost, anyPath+":derive", `{"credential":"`+k.Secret+`"}`),
		apitest.Request(http.MethodPost, issuedPath, `{"name":""}`),
		apitest.Request(http.MethodPost, issuedPath+"/"+unknownUUID+":revoke", ""),
		apitest.Request(http.MethodPatch, issuedPath+"/"+id+"?update_mask=status", "{}"),
		apitest.Request(http.MethodDelete, importedPath+"/"+id, ""),
		apitest.Request(http.MethodPost, importedPath+":batchCreate", `{"requests":[{}]}`),
	} {
		if w := apitest.Serve(n.admin, r); n.audit.Len() > 0 {
			t.Fatalf("%s %s: %d, and the log has %v", r.Method, r.URL, w.Code, n.audit.All())
		}
	}
	if text := n.logs.String(); strings.Contains(text, `"level":"info"`) {
		t.Errorf("beside the audit log there is %s", text)
	}
}

func TestARepeatedRequestIsDistinguishedFromAChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		for path, body := range map[string]string{
			issuedPath:   `{"name":"n","actor_id":"user-1","request_id":"r-1"}`,
			importedPath: `{"raw_key":"k","name":"n","actor_id":"user-1","request_id":"r-2"}`,
		} {
			for i, want := range []string{"ok", "repeated", "repeated"} {
				n.audit.TakeAll()
				if w := apitest.Post(n.admin, path, body); w.Code != http.StatusOK {
					t.Fatalf("%d %s", w.Code, w.Body)
				}
				if got := n.audit.All()[0].ContextMap()["result"]; got != want {
					t.Errorf("%s, call %d: %v, want %s", path, i+1, got, want)
				}
				time.Sleep(time.Millisecond)
			}
		}
	})
}

func TestABatchImportIsOneLineForEachKey(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	var items []string
	for i := range 20 {
		items = append(items, fmt.Sprintf(`{"raw_key":"k%d","name":"n","actor_id":"user-%d"}`, i, i))
	}
	items = append(items, `{"raw_key":"k1","name":"n","actor_id":"again"}`)
	w := apitest.Post(n.admin, importedPath+":batchCreate", `{"requests":[`+strings.Join(items, ",")+`]}`)
	out := apitest.Unmarshal[client.BatchCreateResponse](t, w.Body.Bytes())
	if out.SuccessCount != 20 || n.audit.Len() != 20 {
		t.Fatalf("%d keys and %d lines", out.SuccessCount, n.audit.Len())
	}
	for i, e := range n.audit.All() {
		f, k := e.ContextMap(), out.Results[i].ImportedAPIKey
		if f["key_id"] != k.KeyID || f["actor_id"] != k.ActorID || f["operation"] != "batch import" {
			t.Errorf("line %d: %v, want key %s of %s", i+1, f, k.KeyID, k.ActorID)
		}
	}
}

func TestFailedSelfRevocationsAreCountedEachAndLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.selfRevoke("private-guess")
		line := map[string]any{"failed": int64(1), "reason": string(core.KeyNotFound), "client_ip": "192.0.2.7"}
		apitest.WantLine(t, n.audit, zap.WarnLevel, "self-revocations fail", line)
		time.Sleep(time.Minute - 1)
		for range failureBurst {
			n.selfRevoke("private-guess")
		}
		if n.audit.Len() != 1 {
			t.Errorf("%d lines in a minute", n.audit.Len())
		}
		time.Sleep(time.Nanosecond)
		n.audit.TakeAll()
		n.selfRevoke("private-guess")
		line["failed"], line["reason"] = int64(failureBurst+1), string(core.TooManyRequests)
		apitest.WantLine(t, n.audit, zap.WarnLevel, "self-revocations fail", line)
		apitest.WantNoPrivateText(t, n.audit)
		want := append(slices.Repeat([]core.Reason{core.KeyNotFound}, failureBurst+1), core.TooManyRequests)
		if got := n.failedRevocations(); !slices.Equal(got, want) {
			t.Errorf("counted %v", got)
		}
	})
}

func TestEachChangeHasAMessage(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		if (op.Changes != 0) != (op.Message != "") {
			t.Errorf("%s %s has the message %q", op.Method, op.Path, op.Message)
		}
		if op.Changes&GivesReason != 0 && !slices.Contains([]string{"revoke", "self-revoke"}, op.Name) {
			t.Errorf("%s gives a reason", op.Name)
		}
	}
}
