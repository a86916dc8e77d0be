package adminapi

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

// changeTo makes a change of a key's state, which must succeed, and returns its record.
func (n *node) changeTo(t *testing.T, path string) client.Key {
	t.Helper()
	w := apitest.Post(n.admin, path, "")
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	apitest.WantHeaders(t, w)
	return apitest.Unmarshal[client.Key](t, w.Body.Bytes())
}

func TestASuspendedKeyReadsRevokedWithTheTimeUntilItIsResumed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the clock starts at 2000-01-01T00:00:00Z
		n := newNode(t)
		made := n.issue(t, `,"ttl":"1h"`)
		id := made.IssuedAPIKey.KeyID
		if !n.verify(t, made.Secret).IsValid {
			t.Fatal("a new key is not valid")
		}
		const record = `{"key_id":"$ID","name":"n","actor_id":"a","visibility":"KEY_VISIBILITY_SECRET",`
		const suspended = record + `"status":"KEY_STATUS_REVOKED","create_time":"2000-01-01T00:00:00Z",` +
			`"update_time":"2000-01-01T00:00:01Z","expire_time":"2000-01-01T01:00:00Z",` +
			`"suspend_time":"2000-01-01T00:00:01Z"}`
		time.Sleep(time.Second)
		golden(t, apitest.Post(n.admin, issuedPath+"/"+id+":suspend", ""), 200, id, made.Secret, suspended)
		golden(t, apitest.Get(n.admin, issuedPath+"/"+id), 200, id, made.Secret, suspended)
		golden(t, apitest.Get(n.admin, issuedPath+"?filter=status%3DKEY_STATUS_REVOKED"), 200, id, made.Secret,
			`{"issued_api_keys":[`+suspended+`]}`)
		golden(t, apitest.Post(n.admin, anyPath+":verify", `{"credential":"`+made.Secret+`"}`), 200, id, made.Secret,
			`{"is_valid":false,"error_code":"VERIFICATION_ERROR_REVOKED","error_message":"the key is revoked",`+
				`"key_id":"$ID","actor_id":"a","status":"KEY_STATUS_REVOKED","visibility":"KEY_VISIBILITY_SECRET",`+
				`"expire_time":"2000-01-01T01:00:00Z","issuer":"https://issuer.example"}`)
		time.Sleep(time.Second)
		golden(t, apitest.Post(n.admin, issuedPath+"/"+id+":resume", "{}"), 200, id, made.Secret,
			record+`"status":"KEY_STATUS_ACTIVE","create_time":"2000-01-01T00:00:00Z",`+
				`"update_time":"2000-01-01T00:00:02Z","expire_time":"2000-01-01T01:00:00Z"}`)
		if !n.verify(t, made.Secret).IsValid {
			t.Error("the resumed key is not valid")
		}
		n.changeTo(t, issuedPath+"/"+id+":suspend")
		time.Sleep(time.Hour)
		if k := n.changeTo(t, issuedPath+"/"+id+":resume"); k.Status != client.KeyStatusExpired {
			t.Errorf("resumed after its expiry, the key is %s", k.Status)
		}
	})
}

func TestKeysOfBothKindsAreSuspendedByEitherPath(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	made := n.issue(t, "")
	imported := n.importKey(t, "raw", "").KeyID
	for _, tt := range []struct{ credential, keyID, path, other string }{
		{made.Secret, made.IssuedAPIKey.KeyID, issuedPath, importedPath},
		{made.Secret, made.IssuedAPIKey.KeyID, anyPath, importedPath},
		{"raw", imported, importedPath, issuedPath},
		{"raw", imported, anyPath, issuedPath},
	} {
		n.changeTo(t, tt.path+"/"+tt.keyID+":suspend")
		if v := n.verify(t, tt.credential); v.ErrorCode != client.VerificationErrorRevoked {
			t.Errorf("suspended by %s: %+v", tt.path, v)
		}
		for _, action := range []string{":suspend", ":resume"} {
			apitest.WantError(t, apitest.Post(n.admin, tt.other+"/"+tt.keyID+action, ""),
				http.StatusNotFound, core.KeyNotFound)
		}
		n.changeTo(t, tt.path+"/"+tt.keyID+":resume")
		if v := n.verify(t, tt.credential); !v.IsValid {
			t.Errorf("resumed by %s: %+v", tt.path, v)
		}
	}
	types := map[string]int{}
	for _, e := range n.events(t).Events {
		if types[e.Type]++; strings.HasPrefix(e.Type, "APIKey") && e.Reason != "" {
			t.Errorf("the event has a reason: %+v", e)
		}
	}
	if types["APIKeySuspended"] != 4 || types["APIKeyResumed"] != 4 {
		t.Errorf("the events are %v", types)
	}
}

func TestAChangeThatAStateDoesNotAllowIsAConflictThatSaysWhy(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	path := func() string { return issuedPath + "/" + n.issue(t, "").IssuedAPIKey.KeyID }
	active, suspended, revoked := path(), path(), path()
	n.changeTo(t, suspended+":suspend")
	apitest.Post(n.admin, revoked+":revoke", "")
	for _, tt := range []struct{ path, message string }{
		{active + ":resume", "not suspended"},
		{suspended + ":suspend", "suspended already"},
		{suspended + ":rotate", "resume it first"},
		{revoked + ":suspend", "is revoked"},
		{revoked + ":resume", "for good"},
	} {
		e := apitest.WantError(t, apitest.Post(n.admin, tt.path, ""), http.StatusConflict, core.FailedPrecondition)
		if !strings.Contains(e.Message, tt.message) {
			t.Errorf("%s: %q does not say %q", tt.path, e.Message, tt.message)
		}
	}
	e := apitest.WantError(t, apitest.Patch(n.admin, suspended, "", `{"name":"m"}`),
		http.StatusConflict, core.FailedPrecondition)
	if !strings.Contains(e.Message, "resume it first") {
		t.Errorf("update: %q", e.Message)
	}
	if w := apitest.Post(n.admin, suspended+":revoke", ""); w.Code != http.StatusOK {
		t.Fatalf("revoke: %d %s", w.Code, w.Body)
	}
	apitest.WantError(t, apitest.Post(n.admin, suspended+":resume", ""), http.StatusConflict, core.FailedPrecondition)
}

func TestAHolderRevokesASuspendedKeyForGood(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	made := n.issue(t, "")
	path := issuedPath + "/" + made.IssuedAPIKey.KeyID
	n.changeTo(t, path+":suspend")
	w := apitest.Post(n.publicHandler(), selfRevokePath, `{"credential":"`+made.Secret+`"}`)
	if w.Code != http.StatusOK {
		t.Fatalf("the holder gets %d %s", w.Code, w.Body)
	}
	apitest.WantError(t, apitest.Post(n.admin, path+":resume", ""), http.StatusConflict, core.FailedPrecondition)
}

func TestASuspensionThatIsNotWellFormedIsRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	path := issuedPath + "/" + n.issue(t, "").IssuedAPIKey.KeyID
	writes := n.store.Written()
	for _, action := range []string{":suspend", ":resume"} {
		for _, body := range []string{"[]", "{", `{"a":1}x`} {
			apitest.WantError(t, apitest.Post(n.admin, path+action, body), http.StatusBadRequest, core.BadRequest)
		}
		e := apitest.WantError(t, apitest.Post(n.admin, path+action+"?until=1d", ""),
			http.StatusBadRequest, core.BadRequest)
		if !strings.Contains(e.Message, `"until": there is no such parameter`) {
			t.Errorf("got %q", e.Message)
		}
	}
	if n.store.Written() != writes {
		t.Error("a request that was refused changed something")
	}
}
