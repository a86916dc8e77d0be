package sidecar

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
)

// change makes a change through the sidecar, which must succeed.
func (s *sidecarNode) change(t *testing.T, path, body string) []byte {
	t.Helper()
	w := apitest.Post(s.admin, path, body)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// rotated issues a key and rotates it through the sidecar with a grace period of an hour.
func (s *sidecarNode) rotated(t *testing.T, fields string) (old client.IssueResponse, out client.RotateResponse) {
	t.Helper()
	old = s.issue(t, fields)
	if v, _ := s.ask(t, old.Secret); !v.IsValid {
		t.Fatal("a new key is not valid")
	}
	answer := s.change(t, issuedPath+"/"+old.IssuedAPIKey.KeyID+":rotate", `{"grace":"1h"}`)
	return old, apitest.Unmarshal[client.RotateResponse](t, answer)
}

func TestASuspensionThroughASidecarIsBelievedThereAtOnceAndSoIsItsEnd(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	k := s.issue(t, "")
	if v, _ := s.ask(t, k.Secret); !v.IsValid {
		t.Fatal("a new key is not valid")
	}
	path := issuedPath + "/" + k.IssuedAPIKey.KeyID
	s.change(t, path+":suspend", "")
	for range 2 { // the second verdict is cached
		if v, _ := s.ask(t, k.Secret); v.ErrorCode != client.VerificationErrorRevoked {
			t.Errorf("suspended: %+v", v)
		}
	}
	s.change(t, path+":resume", "")
	if v, _ := s.ask(t, k.Secret); !v.IsValid {
		t.Errorf("resumed: %+v", v)
	}
}

func TestTheShorterExpiryOfARotatedKeyReplacesACachedOneInASidecar(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	old, out := s.rotated(t, `,"ttl":"1d"`)
	v, _ := s.ask(t, old.Secret)
	if !v.IsValid || !v.ExpireTime.Equal(out.OldIssuedAPIKey.ExpireTime) || time.Until(v.ExpireTime) > time.Hour {
		t.Errorf("the old key: %+v, expected the expiry %s", v, out.OldIssuedAPIKey.ExpireTime)
	}
	if v, _ := s.ask(t, out.Secret); !v.IsValid || !v.ExpireTime.Equal(old.IssuedAPIKey.ExpireTime) {
		t.Errorf("the new key: %+v, expected the expiry %s", v, old.IssuedAPIKey.ExpireTime)
	}
}

func TestARevocationOfALineageThroughASidecarIsBelievedOfEachKey(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	old, out := s.rotated(t, "")
	if v, _ := s.ask(t, out.Secret); !v.IsValid {
		t.Fatal("the new key is not valid")
	}
	unrelated := s.issue(t, "")
	s.askUntilCached(t, unrelated.Secret)
	s.forgets()
	s.audit.TakeAll()
	keys := []string{old.IssuedAPIKey.KeyID, out.IssuedAPIKey.KeyID}
	w := apitest.Post(s.admin, issuedPath+"/"+keys[1]+":revoke?lineage=true", "")
	if w.Code != http.StatusOK || w.Body.String() != "{}\n" || w.Header().Get("Talos-Changed-Keys") != "" {
		t.Errorf("got %d %s %v", w.Code, w.Body, w.Header())
	}
	if got := s.forgets(); !slices.Equal(got, slices.Sorted(slices.Values(keys))) {
		t.Errorf("it forgets %v, want %v", got, keys)
	}
	for _, cred := range []string{old.Secret, out.Secret} {
		if v, _ := s.ask(t, cred); v.ErrorCode != client.VerificationErrorRevoked {
			t.Errorf("%+v", v)
		}
	}
	if v, cache := s.ask(t, unrelated.Secret); !v.IsValid || cache != "HIT" {
		t.Errorf("an unrelated key: %+v, %s", v, cache)
	}
	if n := s.audit.FilterMessage("key revoked").Len(); n != 2 {
		t.Errorf("the audit log has %d lines", n)
	}
}

func TestWhereTheKeysOfALineageAreNotKnownEveryKeyIsForgotten(t *testing.T) {
	t.Parallel()
	const other, asked = "11111111-1111-4111-8111-111111111111", "?lineage=true"
	for name, tc := range map[string]struct {
		query  string
		header string // of the answer
		status int
		down   bool
		want   []string // beside the key in the path
	}{
		"the upstream names them":         {asked, other, 200, false, []string{other}},
		"there are very many":             {asked, "*", 200, false, []string{everyKey}},
		"a name is none":                  {asked, other + ",a b", 200, false, []string{everyKey}},
		"the upstream does not name them": {asked, "", 200, false, []string{everyKey}},
		"the upstream fails":              {asked, "", 503, false, []string{everyKey}},
		"there is no answer":              {asked, "", 0, true, []string{everyKey}},
		"it is refused":                   {asked, "", 409, false, nil},
		"no lineage is asked for":         {"", "", 200, false, nil},
		"nor is there an answer":          {"", "", 0, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSidecarNode(t)
			s.answers(func(w http.ResponseWriter, _ *http.Request) {
				if tc.header != "" {
					w.Header().Set("Talos-Changed-Keys", tc.header)
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, "{}")
			})
			if tc.down {
				s.set(func() { s.httpDown = errors.New("reset") })
			}
			apitest.Post(s.admin, issuedPath+"/"+unknownUUID+":revoke"+tc.query, "")
			want := append([]string{unknownUUID}, tc.want...)
			if got := s.forgets(); !slices.Equal(got, want) {
				t.Errorf("it forgets %v, want %v", got, want)
			}
		})
	}
}

func TestAnEdgeOfASidecarIsToldTheKeysOfALineageToo(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	old, out := s.rotated(t, "")
	w := apitest.AsEdge(s.admin, issuedPath+"/"+old.IssuedAPIKey.KeyID+":revoke?lineage=true", "")
	want := strings.Join([]string{old.IssuedAPIKey.KeyID, out.IssuedAPIKey.KeyID}, ",")
	if got := w.Header().Get("Talos-Changed-Keys"); w.Code != http.StatusOK || got != want {
		t.Errorf("%d, keys %q, want %q", w.Code, got, want)
	}
}
