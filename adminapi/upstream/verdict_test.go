package upstream

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/verify"
)

// jwt makes something of the shape of a JWT about a key.
func jwt(subject string) string {
	part := func(v any) string {
		b, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return part(map[string]string{"alg": "EdDSA"}) + "." + part(map[string]string{"sub": subject}) + ".c2ln"
}

func TestAVerdictSaysWhatTheUpstreamSaysAndNothingElse(t *testing.T) {
	t.Parallel()
	_, parent := mint(t)
	future := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for name, tc := range map[string]struct {
		cred   string // empty: an issued key
		change func(r map[string]any)
		code   core.Code
		fails  bool
		check  func(v *core.Verdict) bool
	}{
		"valid": {check: func(v *core.Verdict) bool {
			return v.Type == core.IssuedKey && slices.Equal(v.Scopes, []string{"a:read", "b"}) &&
				v.Status == core.StatusActive && v.Visibility == core.VisibilitySecret &&
				string(v.Metadata) == `{"plan":"gold"}` && v.Issuer == "http://localhost" &&
				v.Identity.Scopes == "a:read b" && v.Identity.Metadata != "" && v.Position == 0 &&
				v.AllowedCIDRs == nil
		}},
		"it expires": {
			change: func(r map[string]any) { r["expire_time"] = future },
			check:  func(v *core.Verdict) bool { return v.ExpireTime.Equal(future) },
		},
		"it has expired by our clock": {
			change: func(r map[string]any) { r["expire_time"] = time.Now().Add(-time.Hour) },
			code:   core.CodeExpired,
			check:  func(v *core.Verdict) bool { return v.Identity == core.Identity{} },
		},
		"a time that is none": {change: func(r map[string]any) { r["expire_time"] = "soon" }, fails: true},
		"no metadata": {
			change: func(r map[string]any) { r["metadata"] = nil },
			check:  func(v *core.Verdict) bool { return v.Metadata == nil },
		},
		"metadata that is no object": {change: func(r map[string]any) { r["metadata"] = []int{1} }, fails: true},
		"a scope with a line break": {
			change: func(r map[string]any) { r["scopes"] = []string{"a\r\nX-Evil: 1"} },
			fails:  true,
		},
		"an empty scope": {change: func(r map[string]any) { r["scopes"] = []string{""} }, fails: true},
		"an actor with a line break": {
			change: func(r map[string]any) { r["actor_id"] = "a\r\nb" },
			check:  func(v *core.Verdict) bool { return v.Identity.Actor == "a%0D%0Ab" },
		},
		"an unknown status": {
			change: func(r map[string]any) { r["status"] = "KEY_STATUS_ASLEEP" },
			fails:  true,
		},
		"no status": {change: func(r map[string]any) { delete(r, "status") }, fails: true},
		"valid and revoked": {
			change: func(r map[string]any) { r["status"] = "KEY_STATUS_REVOKED" },
			code:   core.CodeRevoked,
		},
		"valid with an error": {
			change: func(r map[string]any) { r["error_code"] = "VERIFICATION_ERROR_REVOKED" },
			fails:  true,
		},
		"valid with the neutral code": {
			change: func(r map[string]any) { r["error_code"] = "VERIFICATION_ERROR_UNSPECIFIED" },
		},
		"an unknown visibility": {
			change: func(r map[string]any) { r["visibility"] = "KEY_VISIBILITY_SOME" },
			fails:  true,
		},
		"no visibility": {
			change: func(r map[string]any) { delete(r, "visibility") },
			check:  func(v *core.Verdict) bool { return v.Visibility == core.VisibilitySecret },
		},
		"public": {
			change: func(r map[string]any) { r["visibility"] = "KEY_VISIBILITY_PUBLIC" },
			check:  func(v *core.Verdict) bool { return v.Visibility == core.VisibilityPublic },
		},
		"another key's id": {change: func(r map[string]any) { r["key_id"] = parent }, fails: true},
		"not valid, with another key's id": {
			change: func(r map[string]any) {
				r["is_valid"], r["error_code"], r["key_id"] = false, "VERIFICATION_ERROR_REVOKED", parent
			},
			fails: true,
		},
		"an id with a line break": {
			cred:   jwt(parent),
			change: func(r map[string]any) { r["key_id"] = "a\nb" },
			fails:  true,
		},
		"a list that is none": {
			change: func(r map[string]any) { r["ip_restriction"] = map[string]any{"allowed_cidrs": []string{"x"}} },
			fails:  true,
		},
		"a list": {change: func(r map[string]any) {
			r["ip_restriction"] = map[string]any{"allowed_cidrs": []string{"10.0.0.0/8", "2001:db8::1"}}
		}, check: func(v *core.Verdict) bool { return len(v.AllowedCIDRs) == 2 }},
		"too much of it": {
			change: func(r map[string]any) { r["metadata"] = map[string]string{"x": strings.Repeat("x", maxResult)} },
			fails:  true,
		},
		"revoked": {change: func(r map[string]any) {
			r["is_valid"], r["error_code"], r["status"] = false, "VERIFICATION_ERROR_REVOKED", "KEY_STATUS_REVOKED"
		}, code: core.CodeRevoked, check: func(v *core.Verdict) bool {
			return v.ActorID != "" && v.Status == core.StatusRevoked && v.Identity == core.Identity{}
		}},
		"expired and no more": {change: func(r map[string]any) {
			clear(r)
			r["is_valid"], r["error_code"] = false, "VERIFICATION_ERROR_EXPIRED"
		}, code: core.CodeExpired},
		"of the wrong form": {
			change: refusedAs("VERIFICATION_ERROR_INVALID_FORMAT"),
			code:   core.CodeInvalidFormat,
		},
		"a bad signature": {
			cred:   jwt(parent),
			change: refusedAs("VERIFICATION_ERROR_SIGNATURE_INVALID"),
			code:   core.CodeSignatureInvalid,
		},
		"limited": {
			change: refusedAs("VERIFICATION_ERROR_RATE_LIMITED"),
			code:   core.CodeRateLimited,
		},
		"from the wrong place": {
			change: refusedAs("VERIFICATION_ERROR_IP_NOT_ALLOWED"),
			code:   core.CodeIPNotAllowed,
		},
		"a token": {
			cred:   jwt(parent),
			change: func(r map[string]any) { r["key_id"] = parent; delete(r, "status") },
			check:  func(v *core.Verdict) bool { return v.Type == core.DerivedJWT && v.KeyID == parent },
		},
		"a macaroon": {
			cred:   "mc_v1_AgEA",
			change: func(r map[string]any) { r["key_id"] = parent },
			check:  func(v *core.Verdict) bool { return v.Type == core.DerivedMacaroon },
		},
		"an imported key": {
			cred:   "legacy",
			change: func(r map[string]any) { r["key_id"] = credential.ImportedKeyID(core.NetworkID{}, "legacy") },
			check:  func(v *core.Verdict) bool { return v.Type == core.ImportedKey },
		},
		"no is_valid":           {change: func(r map[string]any) { delete(r, "is_valid") }, fails: true},
		"is_valid that is text": {change: func(r map[string]any) { r["is_valid"] = "true" }, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn()
			s.edge, s.position = true, 17
			cred, keyID := s.add(t, tc.change)
			if tc.cred != "" {
				s.set(func() { s.results[tc.cred] = s.results[cred] })
				cred = tc.cred
			}
			u, logs := open(t, nil, serve(t, s, "").URL)
			v, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
			noSecret(t, logs, []error{err}, cred)
			if tc.fails {
				if err == nil || core.ReasonOf(err) != core.Unavailable {
					t.Errorf("got %+v, %v", v, err)
				}
				return
			}
			if err != nil || v.Code != tc.code || v.Network != (core.NetworkID{}) || tc.check != nil && !tc.check(v) ||
				tc.cred == "" && v.KeyID != keyID {
				t.Errorf("got %+v, %v", v, err)
			}
		})
	}
}

func TestTokensInTheWrongPlaceAreNoticedByTheirSubject(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.edge = true
	var creds, ids []string
	for range 4 {
		cred, id := s.add(t, nil)
		token := jwt(id)
		s.set(func() { s.results[token] = s.results[cred] })
		creds, ids = append(creds, token), append(ids, id)
	}
	s.change = func(r []map[string]any) []map[string]any { slices.Reverse(r); return r }
	u, _ := open(t, nil, serve(t, s, "").URL)
	results, err := lookUpMany(t.Context(), u, core.NetworkID{}, creds)
	for i, r := range results {
		if r.Err != nil || r.Verdict.KeyID != ids[i] {
			t.Errorf("token %d: got %+v, %v", i, r, err)
		}
	}
}

var (
	inside  = netip.MustParseAddr("10.1.2.3")
	outside = netip.MustParseAddr("192.0.2.1")
)

func TestTheLeewayForATokensTimesIsTheUpstreamsToKnow(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.edge = true
	cred, keyID := s.add(t, func(r map[string]any) { r["expire_time"] = time.Now().Add(-time.Minute) })
	token := jwt(keyID)
	s.results[token] = s.results[cred]
	u, _ := open(t, nil, serve(t, s, "").URL)
	v := verifying(t, u, verify.Config{})
	for range 2 { // it is asked each time, because a moment later the answer may be another
		r, err := v.Verify(t.Context(), core.NetworkID{}, token, verify.Use)
		if err != nil || r.Cache != verify.Miss || decide(r.Verdict, inside) != core.CodeValid ||
			r.Verdict.ExpireTime.After(time.Now()) {
			t.Errorf("a token: got %+v, %v", r, err)
		}
	}
	s.set(func() {
		s.results[token] = map[string]any{"is_valid": false, "error_code": "VERIFICATION_ERROR_EXPIRED"}
	})
	expect(t, v, token, core.CodeExpired, "a token after the leeway")
	expect(t, v, cred, core.CodeExpired, "a key has no leeway")
}

func TestARateLimitOfTheUpstreamIsAVerdictThatIsNotCached(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	cred, _ := s.add(t, refusedAs("VERIFICATION_ERROR_RATE_LIMITED"))
	u, _ := open(t, nil, serve(t, s, "").URL)
	v := verifying(t, u, verify.Config{})
	for range 2 {
		r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
		if err != nil || decide(r.Verdict, inside) != core.CodeRateLimited || r.Cache != verify.Miss {
			t.Errorf("got %+v, %v", r, err)
		}
	}
}
