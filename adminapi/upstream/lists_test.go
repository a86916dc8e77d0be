package upstream

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/policy"
	"github.com/talos-edge/talos-edge/core/verify"
)

func decide(v *core.Verdict, client netip.Addr) core.Code {
	return policy.Judge(v, policy.Request{Now: time.Now(), Client: client}, nil)
}

func TestAddressListsAreKnownBeforeAGoodVerdict(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		edge, none bool
		records    int
	}{
		"an upstream that understands":    {true, false, 0},
		"one that does not":               {false, false, 1},
		"one that does not, with no list": {false, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn()
			s.edge = tc.edge
			cred, keyID := s.add(t, nil)
			if !tc.none {
				s.lists[keyID] = []string{"10.0.0.0/8"}
			}
			u, _ := open(t, func(c *Config) { c.NoIPLists = tc.none }, serve(t, s, "").URL)
			v, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
			if err != nil || decide(v, inside) != core.CodeValid || tc.none != (decide(v, outside) == core.CodeValid) {
				t.Errorf("got %+v, %v", v, err)
			}
			if n := len(s.calls(keyID)); n != tc.records {
				t.Errorf("%d records were read", n)
			}
		})
	}
}

func TestAGoodVerdictWhoseListCannotBeReadIsNone(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault         fault
		misconfigured bool
	}{
		"500":            {saying(500, jsonType, envelope), false},
		"403":            {saying(403, jsonType, envelope), true},
		"no such path":   {saying(404, "text/plain", "404 page not found"), true},
		"no such key":    {saying(404, jsonType, `{"error":{"details":[{"reason":"API_KEY_NOT_FOUND"}]}}`), false},
		"another key":    {saying(200, jsonType, `{"key_id":"x","status":"KEY_STATUS_ACTIVE"}`), false},
		"nothing":        {saying(200, jsonType, `{}`), false},
		"an odd list":    {nil, false},
		"a list as text": {saying(200, jsonType, `{"ip_restriction":"10.0.0.0/8"}`), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn()
			cred, keyID := s.add(t, nil)
			s.lists[keyID] = []string{"anywhere"}
			if tc.fault != nil {
				s.fault = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
					return r.Method == http.MethodGet && tc.fault(w, r, body)
				}
			}
			u, _ := open(t, nil, serve(t, s, "").URL)
			v := verifying(t, u, verify.Config{})
			for range 2 {
				r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
				if core.ReasonOf(err) != core.Unavailable || r.Verdict != nil ||
					errors.Is(err, verify.ErrMisconfigured) != tc.misconfigured {
					t.Errorf("got %+v, %v", r, err)
				}
			}
			s.set(func() { s.fault = nil; delete(s.lists, keyID) })
			eventually(t, "it recovers", func() bool {
				r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
				return err == nil && r.Verdict.Code == core.CodeValid
			})
		})
	}
}

func TestWhatARecordSaysOfTheKeysStateIsTheNewerWord(t *testing.T) {
	t.Parallel()
	const noKey = `{"error":{"details":[{"reason":"API_KEY_NOT_FOUND"}]}}`
	for status, want := range map[string]struct {
		code    core.Code
		fails   bool
		refused bool
	}{
		"KEY_STATUS_REVOKED":     {code: core.CodeRevoked},
		"KEY_STATUS_EXPIRED":     {code: core.CodeExpired},
		"KEY_STATUS_SUSPENDED":   {fails: true, refused: true},
		"KEY_STATUS_UNSPECIFIED": {fails: true},
		"":                       {fails: true},
		noKey:                    {fails: true, refused: true},
	} {
		s := newStandIn()
		cred, keyID := s.add(t, nil)
		s.fault = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			answer := saying(200, jsonType, `{"key_id":"`+keyID+`","status":"`+status+`"}`)
			if status == noKey {
				answer = saying(404, jsonType, noKey)
			}
			return r.Method == http.MethodGet && answer(w, r, body)
		}
		u, _ := open(t, nil, serve(t, s, "").URL)
		v, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
		switch {
		case (err != nil) != want.fails, errors.Is(err, verify.ErrRefused) != want.refused:
			t.Errorf("%s: got %+v, %v", status, v, err)
		case err == nil && (decide(v, inside) != want.code || v.KeyID != keyID || v.Identity != core.Identity{}):
			t.Errorf("%s: got %+v", status, v)
		}
	}
}

func TestATokenOfAnUpstreamThatDoesNotTellItsListIsNotAdmitted(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	cred, keyID := s.add(t, nil)
	token := jwt(keyID)
	s.results[token] = s.results[cred]
	server := serve(t, s, "")
	u, logs := open(t, nil, server.URL)
	if v, err := lookUp(t.Context(), u, core.NetworkID{}, token); core.ReasonOf(err) != core.Unavailable || err == nil {
		t.Errorf("got %+v, %v", v, err)
	}
	if logs.FilterMessageSnippet("ip_lists none").Len() != 1 {
		t.Error("the operator is not told")
	}
	u, _ = open(t, func(c *Config) { c.NoIPLists = true }, server.URL)
	if v, err := lookUp(t.Context(), u, core.NetworkID{}, token); err != nil || v.KeyID != keyID {
		t.Errorf("got %+v, %v", v, err)
	}
}

// foreign judges the address that is forwarded, or its own caller's.
func foreign(s *standIn, cred, keyID string, allowed netip.Prefix) {
	s.lists[keyID] = []string{allowed.String()}
	s.fault = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		addr, err := netip.ParseAddr(r.Header.Get("X-Forwarded-For"))
		if !strings.Contains(string(body), cred) || err == nil && allowed.Contains(addr) {
			return false
		}
		result, _ := json.Marshal(bad("VERIFICATION_ERROR_IP_NOT_ALLOWED"))
		if strings.HasSuffix(r.URL.Path, ":batchVerify") {
			result = []byte(`{"results":[` + string(result) + `]}`)
		}
		return saying(200, jsonType, string(result))(w, r, body)
	}
}

func TestIPNotAllowedIsAskedAgainForTheClientAndNeverKept(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	cred, keyID := s.add(t, nil)
	foreign(s, cred, keyID, netip.MustParsePrefix("10.0.0.0/8"))
	u, _ := open(t, nil, serve(t, s, "").URL)
	v := verifying(t, u, verify.Config{})
	for i := range 3 {
		r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
		if err != nil || r.Verdict.Code != core.CodeIPNotAllowed || r.Cache != verify.Miss {
			t.Fatalf("round %d: got %+v, %v", i, r, err)
		}
	}
	for addr, want := range map[netip.Addr]core.Code{
		inside: core.CodeValid, outside: core.CodeIPNotAllowed, {}: core.CodeIPNotAllowed,
		netip.MustParseAddr("::ffff:10.9.9.9"): core.CodeValid,
	} {
		got, err := u.VerifyFor(t.Context(), core.NetworkID{}, cred, addr)
		if err != nil || decide(got, addr) != want {
			t.Errorf("%s: got %+v, %v", addr, got, err)
		}
		if want == core.CodeValid && decide(got, outside) == core.CodeValid {
			t.Errorf("%s: the verdict admits another address", addr)
		}
	}
	for _, call := range s.calls(":verify") {
		if call.header.Get("Talos-Edge") != "" || call.header.Get("X-Forwarded-For") == "" {
			t.Errorf("asked with %v", call.header)
		}
	}
	if r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use); err != nil || r.Cache != verify.Miss {
		t.Errorf("it was cached: got %+v, %v", r, err)
	}
}

func TestAttack08_AReadOfAListThatCouldNotEndInTimeIsNotBegun(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	s := newStandIn()
	s.fault = records(func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
		select { // an upstream that is so slow that the second sixteen could not be answered
		case <-time.After(timeout * 8 / 10):
		case <-r.Context().Done():
		}
		return false
	})
	u, _ := open(t, func(c *Config) { c.Timeout = timeout }, serve(t, s, "").URL)
	creds := make([]string, 50)
	for i := range creds {
		creds[i], _ = s.add(t, nil)
	}
	results, err := lookUpMany(t.Context(), u, core.NetworkID{}, creds)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.calls("")) - len(s.calls(":batchVerify")); n != maxRecords {
		t.Errorf("%d reads were begun, want %d", n, maxRecords)
	}
	for i, r := range results {
		if r.Err != nil && core.ReasonOf(r.Err) != core.Unavailable {
			t.Errorf("%d: got %v", i, r.Err)
		}
	}
}
