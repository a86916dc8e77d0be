package upstream

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/sidecar"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/core/verify"
)

// sidecarOf is the private surface of a sidecar, with what it is made of.
func sidecarOf(t *testing.T, config Config) (u *Remote, admin http.Handler) {
	t.Helper()
	u = newUpstream(t, config)
	v, err := verify.New(verify.Config{LookupTimeout: patience}, u)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return u, sidecar.Admin(sidecar.Options{
		Options: adminapi.Options{
			Network:    func(*http.Request) (adminapi.Network, error) { return adminapi.Network{Verifier: v}, nil },
			ClientAddr: func(*http.Request) netip.Addr { return netip.Addr{} },
			Logger:     zap.NewNop(),
		},
		Upstream: u,
	})
}

// lagging is an upstream that does not understand edges, behind a cache in which nothing expires and that passes only
// what asks for no-cache.
func lagging(s *standIn) http.Handler {
	cached := make(map[string][]byte)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		name := r.Method + r.URL.Path + string(body)
		reads := r.Method == http.MethodGet || strings.HasSuffix(strings.ToLower(r.URL.Path), "verify")
		s.mu.Lock()
		answer, hit := cached[name]
		s.mu.Unlock()
		if !reads || !hit || r.Header.Get("Cache-Control") == "no-cache" {
			inner := httptest.NewRecorder()
			s.ServeHTTP(inner, r)
			answer = inner.Body.Bytes()
		}
		if !hit {
			s.set(func() { cached[name] = answer })
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	})
}

// revoking makes a stand-in revoke the key that a path names, and change the address list of one that is updated.
func revoking(s *standIn) {
	s.fault = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		id, revokes := strings.CutSuffix(path.Base(r.URL.Path), ":revoke")
		if !revokes && r.Method != http.MethodPatch {
			return false
		}
		s.set(func() {
			for cred, result := range s.results {
				if result["key_id"] != id {
					continue
				}
				if revokes {
					result = bad(client.VerificationErrorRevoked)
				}
				s.results[cred] = result
			}
			if !revokes {
				var in client.UpdateRequest
				_ = json.Unmarshal(body, &in)
				s.lists[id] = in.IPRestriction.AllowedCIDRs
			}
		})
		_, _ = io.WriteString(w, "{}")
		return true
	}
}

// A cache between this node and an upstream that tells no places of changes may hold what was so before a change. After
// one that passed through here, the key is looked up past it.
func TestAttack05_ACacheThatLagsBringsNoRevokedKeyBack(t *testing.T) {
	t.Parallel()
	expires := time.Now().Add(time.Hour)
	for name, token := range map[string]func(t *testing.T, keyID string) string{
		"a key": nil,
		"a JWT": func(_ *testing.T, keyID string) string { return jwt(keyID) },
		"a macaroon": func(t *testing.T, keyID string) string {
			t.Helper()
			return derived(t, keyID, expires)
		},
		"a token without its subject": func(*testing.T, string) string { return "mc_v1_of-another-form" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn()
			cred, keyID := s.add(t, nil)
			other, _ := s.add(t, nil)
			if token != nil {
				cred = token(t, keyID)
				s.results[cred] = good(keyID)
			}
			revoking(s)
			_, sidecar := sidecarOf(t, Config{
				Addresses: []string{serve(t, lagging(s), "").URL}, Timeout: patience, NoIPLists: true,
			})
			valid := func(cacheControl string, creds ...string) bool {
				in := client.BatchVerifyRequest{}
				for _, c := range creds {
					in.Requests = append(in.Requests, client.VerifyRequest{Credential: c})
				}
				body, _ := json.Marshal(in)
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, client.BatchVerifyPath,
					strings.NewReader(string(body)))
				r.Header.Set("Cache-Control", cacheControl)
				w := httptest.NewRecorder()
				sidecar.ServeHTTP(w, r)
				var out client.BatchVerifyResponse
				if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || len(out.Results) != len(creds) {
					t.Fatalf("got %s", w.Body)
				}
				return out.Results[0].IsValid
			}
			for _, creds := range [][]string{{cred}, {cred, other}} { // the cache holds both answers
				if !valid("no-cache", creds...) {
					t.Fatal("it is not valid before")
				}
			}
			w := httptest.NewRecorder()
			sidecar.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost,
				client.KeyPath(client.Issued, keyID)+":revoke", nil))
			if w.Code != http.StatusOK {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			for i := range 10 {
				for _, creds := range [][]string{{cred}, {cred, other}} {
					if valid(map[bool]string{true: "no-cache"}[i%2 == 0], creds...) {
						t.Errorf("round %d: it is valid again", i)
					}
				}
			}
			third, _ := s.add(t, nil)
			if !valid("no-cache", third) {
				t.Error("another key is not valid")
			}
			calls := s.calls(":batchVerify")
			if last := calls[len(calls)-1]; last.header.Get("Cache-Control") != "" {
				t.Error("the look-up of a key that did not change passes the cache")
			}
		})
	}
}

// The address list that belongs to a good verdict is read from a record, which a cache may hold as well.
func TestAttack05_ACacheThatLagsBringsNoAddressListBack(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	cred, keyID := s.add(t, nil)
	s.lists[keyID] = []string{"10.0.0.0/8"}
	revoking(s)
	u, sidecar := sidecarOf(t, Config{Addresses: []string{serve(t, lagging(s), "").URL}, Timeout: patience})
	list := func() string {
		v, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
		if err != nil || len(v.AllowedCIDRs) != 1 {
			t.Fatalf("got %+v, %v", v, err)
		}
		return v.AllowedCIDRs[0].String()
	}
	if got := list(); got != "10.0.0.0/8" {
		t.Fatalf("got %s", got)
	}
	w := httptest.NewRecorder()
	sidecar.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(),
		http.MethodPatch, client.KeyPath(client.Issued, keyID),
		strings.NewReader(`{"ip_restriction":{"allowed_cidrs":["192.0.2.0/24"]}}`)))
	if got := list(); w.Code != http.StatusOK || got != "192.0.2.0/24" {
		t.Errorf("got %d and then %s", w.Code, got)
	}
	addr := netip.MustParseAddr("192.0.2.1")
	if v, err := u.VerifyFor(t.Context(), core.NetworkID{}, cred, addr); err != nil ||
		decide(v, addr) != core.CodeValid {
		t.Errorf("for a client address: got %+v, %v", v, err)
	}
	if calls := s.calls(":verify"); calls[0].header.Get("Cache-Control") != "no-cache" {
		t.Error("for a client address, a cache may be asked")
	}
}

func TestAChangeWithoutAPositionMeansNoCacheForFiveMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &changes{floors: make(map[feed.Slot]floor)}
		want := func(keyID string, past bool) {
			t.Helper()
			if got := c.skipsCaches(core.NetworkID{}, keyID); got != past {
				t.Errorf("key %q: got %t", keyID, got)
			}
		}
		c.forget(core.NetworkID{}, "placed", 7)
		want("placed", false)
		want("", false)
		c.forget(core.NetworkID{}, "k", 0)
		want("k", true)
		want("", true)
		want("another", false)
		want("placed", false)
		time.Sleep(4 * time.Minute)
		c.forget(core.NetworkID{}, "k", 7) // a change whose place is known is none of the one before
		c.forget(core.NetworkID{}, "placed", 0)
		if c.upToDate(core.NetworkID{}, "placed", 6) {
			t.Error("a change whose place is not known lets the one before be forgotten")
		}
		time.Sleep(time.Minute)
		want("k", false)
		want("placed", true)
		time.Sleep(4 * time.Minute)
		want("placed", false)
		want("", false)
	})
}
