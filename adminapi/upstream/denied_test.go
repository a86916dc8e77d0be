package upstream

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// records makes answers about records only.
func records(f fault) fault {
	return func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		return r.Method == http.MethodGet && f(w, r, body)
	}
}

func TestAttack23_AFailureAfterANegativeVerdictServesNothing(t *testing.T) {
	t.Parallel()
	const id = "KEY_ID" // of the key
	for name, tc := range map[string]struct {
		no   string // a result in place of the good one
		at   fault  // or an answer
		edge bool

		served bool // it does not judge the key, or says that it is good: the earlier verdict is served
	}{
		"IP_NOT_ALLOWED":           {no: `{"is_valid":false,"error_code":"VERIFICATION_ERROR_IP_NOT_ALLOWED"}`},
		"REVOKED":                  {no: `{"is_valid":false,"error_code":"VERIFICATION_ERROR_REVOKED"}`},
		"a reason of another time": {no: `{"is_valid":false,"error_code":"VERIFICATION_ERROR_SUSPENDED"}`},
		"the same, to an edge": {
			no:   `{"is_valid":false,"error_code":"VERIFICATION_ERROR_SUSPENDED"}`,
			edge: true,
		},
		"a reason that is no name": {no: `{"is_valid":false,"error_code":"key is asleep"}`},
		"valid with a reason why not": {
			no: `{"is_valid":true,"key_id":"KEY_ID","status":"KEY_STATUS_ACTIVE",` +
				`"error_code":"VERIFICATION_ERROR_SUSPENDED"}`,
		},
		"valid in a state of another time": {
			no:   `{"is_valid":true,"key_id":"KEY_ID","status":"KEY_STATUS_SUSPENDED"}`,
			edge: true,
		},
		"a record that says revoked": {
			at: records(saying(200, jsonType, `{"key_id":"KEY_ID","status":"KEY_STATUS_REVOKED"}`)),
		},
		"a record that says expired": {
			at: records(saying(200, jsonType, `{"key_id":"KEY_ID","status":"KEY_STATUS_EXPIRED"}`)),
		},
		"a record in another state": {
			at: records(saying(200, jsonType, `{"key_id":"KEY_ID","status":"KEY_STATUS_SUSPENDED"}`)),
		},
		"no such record": {
			at: records(saying(404, jsonType, `{"error":{"details":[{"reason":"API_KEY_NOT_FOUND"}]}}`)),
		},
		"no such key, as the whole answer": {
			at: saying(404, jsonType, `{"error":{"details":[{"reason":"API_KEY_NOT_FOUND"}]}}`),
		},
		"401":                              {at: saying(401, jsonType, envelope)},
		"403 of the record":                {at: records(saying(403, jsonType, envelope))},
		"404 without a word about the key": {at: saying(404, "text/plain", "404 page not found"), edge: true},
		"a redirect to where one signs on": {at: saying(302, "text/html", "", "Location", "/login")},
		"INTERNAL": {
			no:     `{"is_valid":false,"error_code":"VERIFICATION_ERROR_INTERNAL"}`,
			served: true,
		},
		"no reason at all": {no: `{"is_valid":false}`, served: true},
		"the neutral reason": {
			no:     `{"is_valid":false,"error_code":"VERIFICATION_ERROR_UNSPECIFIED"}`,
			served: true,
		},
		"RATE_LIMITED": {
			no:     `{"is_valid":false,"error_code":"VERIFICATION_ERROR_RATE_LIMITED"}`,
			served: true,
		},
		"a record without a state": {at: records(saying(200, jsonType, `{"key_id":"KEY_ID"}`)), served: true},
		"another key's record": {
			at:     records(saying(200, jsonType, `{"key_id":"x","status":"KEY_STATUS_REVOKED"}`)),
			served: true,
		},
		"400": {at: saying(400, jsonType, envelope), served: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn()
			s.edge = tc.edge
			cred, keyID := s.add(t, nil)
			if tc.no != "" {
				tc.at = each(strings.ReplaceAll(tc.no, id, keyID))
			}
			u, _ := open(t, nil, serve(t, named(s, id, keyID), "").URL)
			v := verifying(t, u, verify.Config{TTL: time.Second, NegativeTTL: -1})
			eventually(t, "the verdict is remembered", func() bool {
				r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
				return err == nil && r.Verdict.Code == core.CodeValid && r.Cache == verify.Hit
			})
			s.set(func() { s.fault = tc.at })
			eventually(t, "the verdict is past its lifetime", func() bool {
				r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
				return err != nil || r.Verdict.Code != core.CodeValid || r.Cache == verify.Stale
			})
			s.set(func() { s.fault = saying(500, jsonType, envelope) })
			for range 20 {
				r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
				if valid := err == nil && r.Verdict.Code == core.CodeValid; valid != tc.served {
					t.Fatalf("got %+v, %v", r, err)
				}
			}
		})
	}
}

// named puts a key's id in the place of a word in all that a handler answers.
func named(h http.Handler, word, keyID string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(renaming{w, strings.NewReplacer(word, keyID)}, r)
	})
}

type renaming struct {
	http.ResponseWriter
	replacer *strings.Replacer
}

func (w renaming) Write(b []byte) (int, error) {
	_, err := w.ResponseWriter.Write([]byte(w.replacer.Replace(string(b))))
	return len(b), err
}

func TestARefusalInUnknownWordsIsUnavailableAndHoldsNoneOfThem(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	cred, _ := mint(t)
	s.results[cred] = bad(client.VerificationErrorCode("what was sent: " + cred))
	u, logs := open(t, nil, serve(t, s, "").URL)
	_, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
	if !errors.Is(err, verify.ErrRefused) || core.ReasonOf(err) != core.Unavailable {
		t.Errorf("got %v", err)
	}
	noSecret(t, logs, []error{err}, cred)
}
