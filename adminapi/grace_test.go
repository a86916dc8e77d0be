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
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

// rotate rotates a key, which must succeed.
func (n *node) rotate(t *testing.T, keyID, body string) client.RotateResponse {
	t.Helper()
	w := apitest.Post(n.admin, issuedPath+"/"+keyID+":rotate", body)
	if w.Code != http.StatusOK {
		t.Fatalf("rotate: %d %s", w.Code, w.Body)
	}
	return apitest.Unmarshal[client.RotateResponse](t, w.Body.Bytes())
}

func TestARotationWithGraceLeavesTheOldKeyValidUntilTheGracePeriodEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the clock starts at 2000-01-01T00:00:00Z
		n := newNode(t)
		made := n.issue(t, `,"ttl":"1d"`)
		old := made.IssuedAPIKey.KeyID
		if !n.verify(t, made.Secret).IsValid { // the verdict is cached with the earlier expiry
			t.Fatal("a new key is not valid")
		}
		time.Sleep(time.Second)
		w := apitest.Post(n.admin, issuedPath+"/"+old+":rotate", `{"grace":"20s"}`)
		out := apitest.Unmarshal[client.RotateResponse](t, w.Body.Bytes())
		const fields = `"name":"n","actor_id":"a","visibility":"KEY_VISIBILITY_SECRET","status":"KEY_STATUS_ACTIVE",`
		golden(t, w, 200, out.IssuedAPIKey.KeyID, out.Secret,
			`{"issued_api_key":{"key_id":"$ID",`+fields+`"create_time":"2000-01-01T00:00:01Z",`+
				`"update_time":"2000-01-01T00:00:01Z","expire_time":"2000-01-02T00:00:00Z","predecessor_key_id":"`+
				old+`"},"secret":"$SECRET","old_issued_api_key":{"key_id":"`+old+`",`+fields+
				`"create_time":"2000-01-01T00:00:00Z","update_time":"2000-01-01T00:00:01Z",`+
				`"expire_time":"2000-01-01T00:00:21Z","successor_key_id":"$ID"}}`)
		if v := n.verify(t, made.Secret); !v.IsValid || v.ExpireTime.Second() != 21 {
			t.Errorf("at once, the old key: %+v", v)
		}
		time.Sleep(20*time.Second - time.Nanosecond)
		if v := n.verify(t, made.Secret); !v.IsValid {
			t.Errorf("at the end of the grace period, the old key: %+v", v)
		}
		time.Sleep(time.Nanosecond)
		if v := n.verify(t, made.Secret); v.ErrorCode != client.VerificationErrorExpired {
			t.Errorf("after the grace period, the old key: %+v", v)
		}
		if v := n.verify(t, out.Secret); !v.IsValid {
			t.Errorf("the new key: %+v", v)
		}
		if e := n.events(t, "filter", `type="IssuedAPIKeyRotated"`).Events; len(e) != 1 || e[0].Reason != "" {
			t.Errorf("the key is not revoked, and its event is %+v", e)
		}
	})
}

func TestAGracePeriodIsReadAsADurationUpTo30Days(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for grace, want := range map[string]client.KeyStatus{
		`""`: client.KeyStatusRevoked, `"0s"`: client.KeyStatusRevoked, "null": client.KeyStatusRevoked,
		`"30d"`: client.KeyStatusActive, `"720h"`: client.KeyStatusActive, `"1s"`: client.KeyStatusActive,
	} {
		out := n.rotate(t, n.issue(t, "").IssuedAPIKey.KeyID, `{"grace":`+grace+`}`)
		if got := out.OldIssuedAPIKey.Status; got != want {
			t.Errorf("with grace %s, the old key is %s", grace, got)
		}
	}
	made := n.issue(t, "")
	path := issuedPath + "/" + made.IssuedAPIKey.KeyID + ":rotate"
	writes := n.store.Written()
	for body, message := range map[string]string{
		`{"grace":"soon"}`:         "grace: must be a duration such as",
		`{"grace":"-1h"}`:          "grace: must be a duration such as",
		`{"grace":"30d0.000001s"}`: "grace: must lie between 0s and 2592000s (30 days)",
		`{"grace":3600}`:           "grace",
	} {
		e := apitest.WantError(t, apitest.Post(n.admin, path, body), http.StatusBadRequest, core.BadRequest)
		if !strings.Contains(e.Message, message) {
			t.Errorf("%s: %q", body, e.Message)
		}
	}
	// Passed over, it would end the old key at once.
	apitest.WantError(t, apitest.Post(n.admin, path+"?grace=24h", ""), http.StatusBadRequest, core.BadRequest)
	if n.store.Written() != writes || !n.verify(t, made.Secret).IsValid {
		t.Error("a rotation that was refused changed something")
	}
	next := n.rotate(t, made.IssuedAPIKey.KeyID, `{"grace":"1h"}`).IssuedAPIKey.KeyID
	e := apitest.WantError(t, apitest.Post(n.admin, path, ""), http.StatusConflict, core.FailedPrecondition)
	if !strings.Contains(e.Message, "its successor is "+next) {
		t.Errorf("a second rotation: %q", e.Message)
	}
}

func TestKeysOfALineageShareOneCountOfUses(t *testing.T) {
	t.Parallel()
	limiter, err := ratelimit.NewMemory(0)
	if err != nil {
		t.Fatal(err)
	}
	n := newNodeWith(t, setup{limiter: limiter})
	made := n.issue(t, `,"rate_limit_policy":{"quota":3,"window":"1d"}`)
	n.verify(t, made.Secret)
	out := n.rotate(t, made.IssuedAPIKey.KeyID, `{"grace":"1h"}`)
	if v := n.verify(t, out.Secret); !v.IsValid || *v.RateLimitRemaining != 1 {
		t.Errorf("the new key has %d uses left: its predecessor's are forgotten", *v.RateLimitRemaining)
	}
	if v := n.verify(t, made.Secret); !v.IsValid || *v.RateLimitRemaining != 0 {
		t.Errorf("the old key has %d uses left: it is counted on its own", *v.RateLimitRemaining)
	}
	if v := n.verify(t, out.Secret); v.ErrorCode != client.VerificationErrorRateLimited {
		t.Errorf("the new key: %+v", v)
	}
}

func TestOnlyAnEdgeIsShownTheLineage(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	made := n.issue(t, "")
	first := made.IssuedAPIKey.KeyID
	out := n.rotate(t, first, `{"grace":"1h"}`)
	for _, tt := range []struct{ secret, lineage string }{{made.Secret, ""}, {out.Secret, first}} {
		body := `{"credential":"` + tt.secret + `"}`
		v := apitest.Unmarshal[client.VerifyResponse](t, apitest.AsEdge(n.admin, anyPath+":verify", body).Body.Bytes())
		if !v.IsValid || v.LineageID != tt.lineage {
			t.Errorf("an edge gets %+v, expected the lineage %q", v, tt.lineage)
		}
		if v := n.verify(t, tt.secret); v.LineageID != "" {
			t.Errorf("another caller gets the lineage %q", v.LineageID)
		}
	}
}

func TestARevocationOfALineageEndsAllOfIt(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, collection := range []string{issuedPath, anyPath} {
		made := n.issue(t, "")
		old := made.IssuedAPIKey.KeyID
		out := n.rotate(t, old, `{"grace":"1h"}`)
		path := collection + "/" + old + ":revoke"
		golden(t, apitest.AsEdge(n.admin, path+"?lineage=true", ""), 200, old, made.Secret, `{}`)
		for _, secret := range []string{made.Secret, out.Secret} {
			if v := n.verify(t, secret); v.ErrorCode != client.VerificationErrorRevoked {
				t.Errorf("%s: %+v", collection, v)
			}
		}
		apitest.WantError(t, apitest.Post(n.admin, path+"?lineage=true", ""),
			http.StatusConflict, core.FailedPrecondition)
	}
	// An imported key has no lineage.
	imported := n.importKey(t, "raw", "").KeyID
	if w := apitest.Post(n.admin, importedPath+"/"+imported+":revoke?lineage=true", ""); w.Code != http.StatusOK {
		t.Errorf("an imported key: %d %s", w.Code, w.Body)
	}
	if lines := n.audit.FilterMessage("key revoked").Len(); lines != 5 {
		t.Errorf("the audit log has %d revocations, want 5", lines)
	}
}

func TestARevocationWithoutLineageLeavesTheOtherKeys(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, query := range []string{"", "?lineage=false"} {
		made := n.issue(t, "")
		old := made.IssuedAPIKey.KeyID
		out := n.rotate(t, old, `{"grace":"1h"}`)
		w := apitest.Post(n.admin, issuedPath+"/"+out.IssuedAPIKey.KeyID+":revoke"+query, "")
		if w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if v := n.verify(t, made.Secret); !v.IsValid {
			t.Errorf("%q: the old key in its grace period: %+v", query, v)
		}
	}
	made := n.issue(t, "")
	path := issuedPath + "/" + made.IssuedAPIKey.KeyID + ":revoke?"
	for query, message := range map[string]string{
		"lineage=": "true or false", "lineage": "true or false", "lineage=1": "true or false",
		"lineage=TRUE": "true or false", "lineage=true&lineage=true": "more than once",
		"linage=true": "there is no such parameter; there are lineage", "lineage=%zz": "malformed",
	} {
		e := apitest.WantError(t, apitest.Post(n.admin, path+query, ""), http.StatusBadRequest, core.BadRequest)
		if !strings.Contains(e.Message, message) {
			t.Errorf("%s: %q", query, e.Message)
		}
	}
	if !n.verify(t, made.Secret).IsValid {
		t.Error("a revocation that was refused was made")
	}
}

func TestAnEdgeIsToldWhichKeysARevocationOfALineageWasAbout(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, rotations := range []int{1, maxChangedKeys - 1, maxChangedKeys} {
		first := n.issue(t, "").IssuedAPIKey.KeyID
		keys := []string{first}
		for range rotations {
			keys = append(keys, n.rotate(t, keys[len(keys)-1], `{"grace":"1h"}`).IssuedAPIKey.KeyID)
		}
		w := apitest.AsEdge(n.admin, issuedPath+"/"+first+":revoke?lineage=true", "")
		want := strings.Join(keys, ",")
		if len(keys) > maxChangedKeys {
			want = "*"
		}
		if got := w.Header().Get("Talos-Changed-Keys"); got != want || w.Code != http.StatusOK {
			t.Errorf("after %d rotations: %d, keys %q, want %q", rotations, w.Code, got, want)
		}
	}
	made := n.issue(t, "")
	w := apitest.Post(n.admin, issuedPath+"/"+made.IssuedAPIKey.KeyID+":revoke?lineage=true", "")
	if w.Code != http.StatusOK || w.Header().Get("Talos-Changed-Keys") != "" {
		t.Errorf("another caller gets %d, %v", w.Code, w.Header())
	}
}
