package sidecar

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

func TestAHolderRevokesItsCredentialThroughASidecar(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	for _, h := range []http.Handler{s.publicHandler(), s.admin} {
		k := s.issue(t, "")
		if v, _ := s.ask(t, k.Secret); !v.IsValid {
			t.Fatal("a new key is not valid")
		}
		w := apitest.Post(h, selfRevokePath,
			`{"credential":"`+k.Secret+`","reason":"REVOCATION_REASON_KEY_COMPROMISE"}`)
		if w.Code != http.StatusOK || w.Body.String() != "{}\n" {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		apitest.WantHeaders(t, w)
		if v, _ := s.ask(t, k.Secret); v.ErrorCode != client.VerificationErrorRevoked {
			t.Errorf("after it: %+v", v)
		}
		record := apitest.Get(s.admin, issuedPath+"/"+k.IssuedAPIKey.KeyID)
		if !strings.Contains(record.Body.String(), "REVOCATION_REASON_KEY_COMPROMISE") {
			t.Errorf("the record reads %s", record.Body)
		}
		apitest.WantError(t, apitest.Post(h, selfRevokePath, `{"credential":"`+k.Secret+`"}`),
			http.StatusUnauthorized, core.KeyRevoked)
	}
}

func TestAttack16_ASelfRevocationIsMadeAnewFromItsBodyAlone(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	var got *http.Request
	var body []byte
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, "{}")
	})
	r := apitest.Request(http.MethodPost, selfRevokePath+"?x=1", `{"credential":"c","other":1,"reason":""}`)
	r.Host = "evil.example"
	for _, name := range []string{"Authorization", "Cookie", "X-Any", "X-Forwarded-For", "Talos-Edge"} {
		r.Header.Set(name, "the caller's")
	}
	if w := apitest.Serve(s.publicHandler(), r); w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if got.RequestURI != selfRevokePath || got.Host == r.Host ||
		string(body) != `{"credential":"c","reason":"REVOCATION_REASON_UNSPECIFIED"}` {
		t.Errorf("the upstream got %s at %s: %s", got.RequestURI, got.Host, body)
	}
	for _, name := range []string{"Authorization", "Cookie", "X-Any", "X-Forwarded-For", "Talos-Edge"} {
		if slices.Contains(got.Header[name], "the caller's") {
			t.Errorf("the upstream got %s", name)
		}
	}
}

func TestASelfRevocationIsForgottenWhateverBecameOfIt(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	k := s.issue(t, "")
	body := `{"credential":"` + k.Secret + `"}`
	for name, h := range map[string]http.HandlerFunc{
		"failed":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"reset":   func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"garbage": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
	} {
		s.answers(h)
		apitest.WantError(t, apitest.Post(s.publicHandler(), selfRevokePath, body),
			http.StatusServiceUnavailable, core.Unavailable)
		if !slices.Equal(s.forgets(), []string{k.IssuedAPIKey.KeyID}) {
			t.Errorf("%s: the key is not forgotten", name)
		}
	}
}

func TestACredentialThatDoesNotTellItsKeyIsForgottenByItsVerdict(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	s.set(func() { s.verdict = &core.Verdict{KeyID: "elsewhere", Code: core.CodeValid, Status: core.StatusActive} })
	if v, _ := s.ask(t, "anything"); !v.IsValid {
		t.Fatalf("got %+v", v)
	}
	s.answers(func(w http.ResponseWriter, _ *http.Request) {
		s.set(func() {
			s.verdict = &core.Verdict{KeyID: "elsewhere", Code: core.CodeRevoked, Status: core.StatusRevoked}
		})
		_, _ = io.WriteString(w, "{}")
	})
	if w := apitest.Post(s.publicHandler(), selfRevokePath, `{"credential":"anything"}`); w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if got := s.forgets(); !slices.Equal(got, []string{"elsewhere"}) {
		t.Errorf("forgot %v", got)
	}
	if v, _ := s.ask(t, "anything"); v.ErrorCode != client.VerificationErrorRevoked {
		t.Errorf("after it: %+v", v)
	}
}

// Attack 20: what a holder is told comes from a closed list, so an upstream's words do not reach it; what is not about
// the credential is nobody's failed attempt.
func TestAttack20_ASidecarTellsAHolderOnlyOfItsCredential(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		reason string
		want   int
		told   core.Reason
	}{
		"unknown":              {404, "API_KEY_NOT_FOUND", 404, core.KeyNotFound},
		"revoked":              {401, "API_KEY_REVOKED", 401, core.KeyRevoked},
		"expired":              {401, "API_KEY_EXPIRED", 401, core.KeyExpired},
		"revoked, as conflict": {409, "FAILED_PRECONDITION", 409, core.FailedPrecondition},
		"derived":              {400, "DERIVED_TOKEN_NOT_REVOCABLE", 400, core.DerivedTokenNotRevocable},
		"a reason of another":  {403, "API_KEY_REVOKED", 503, core.Unavailable},
		"the sidecar refused":  {401, "UNAUTHENTICATED", 503, core.Unavailable},
		"no such path":         {404, "NOT_FOUND", 503, core.Unavailable},
		"a proxy's page":       {403, "", 503, core.Unavailable},
		"our address is out":   {403, "IP_NOT_ALLOWED", 503, core.Unavailable},
		"our address is slow":  {429, "TOO_MANY_REQUESTS", 429, core.TooManyRequests},
		"its own trouble":      {500, "INTERNAL_SERVER_ERROR", 503, core.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSidecarNode(t)
			s.answers(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, `{"error":{"message":"very-secret","details":[{"reason":"`+tc.reason+`"}]}}`)
			})
			limited := false
			for range failureBurst + 1 {
				w := apitest.Post(s.publicHandler(), selfRevokePath, `{"credential":"very-secret"}`)
				if w.Code == http.StatusTooManyRequests && strings.Contains(w.Body.String(), "from this address") {
					limited = true
					break
				}
				e := apitest.WantError(t, w, tc.want, tc.told)
				if strings.Contains(e.Message, "secret") {
					t.Errorf("the holder is told %q", e.Message)
				}
				if retry := w.Header().Get("Retry-After"); tc.want == 503 && retry != "7" {
					t.Errorf("Retry-After: %q", retry)
				}
			}
			if limited != (tc.want < 500) {
				t.Errorf("limited at last: %t", limited)
			}
			if strings.Contains(s.logs.String(), "very-secret") {
				t.Error("the log holds what the upstream wrote")
			}
		})
	}
}

func TestASidecarRefusesAWrongSelfRevocationItself(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	s.answers(func(http.ResponseWriter, *http.Request) { t.Error("the upstream was asked") })
	for body, want := range map[string]core.Reason{
		``:                          core.CredentialRequired,
		`{"credential":1}`:          core.BadRequest,
		`{"credential":"a\u0000b"}`: core.InvalidKeyFormat,
		`{"credential":"c","reason":"REVOCATION_REASON_PRIVILEGE_WITHDRAWN"}`: core.BadRequest,
	} {
		apitest.WantError(t, apitest.Post(s.publicHandler(), selfRevokePath, body), http.StatusBadRequest, want)
	}
	if w := apitest.Get(s.publicHandler(), issuedPath); w.Code != http.StatusNotFound {
		t.Errorf("a private path on the public surface: %d", w.Code)
	}
	if w := apitest.Get(s.publicHandler(), "/app"); w.Code != 299 {
		t.Errorf("the app's path: %d", w.Code)
	}
}

func TestTheKeySetOfASidecarIsItsUpstreams(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	const set = `{"keys":[{"kid":"1"}],"jwks":{"keys":[{"kid":"1"}]}}`
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.RequestURI != jwksPath {
			t.Errorf("asked for %s %s", r.Method, r.RequestURI)
		}
		_, _ = io.WriteString(w, set)
	})
	for range 20 {
		w := apitest.Get(s.publicHandler(), jwksPath)
		if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != set ||
			w.Header().Get("Cache-Control") != "public, max-age=60" {
			t.Fatalf("got %d %v %s", w.Code, w.Header(), w.Body)
		}
	}
	if s.keySets != 1 {
		t.Errorf("the upstream was asked %d times", s.keySets)
	}
	if w := apitest.Get(s.admin, jwksPath); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != set {
		t.Errorf("the private surface: %d %s", w.Code, w.Body)
	}
}

func TestASidecarNotesTheFeedPositionOfAChange(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	k := s.issue(t, "")
	place := func() uint64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.place
	}
	w := apitest.Patch(s.admin, issuedPath+"/"+k.IssuedAPIKey.KeyID, "name", `{"name":"m"}`)
	if w.Code != http.StatusOK || place() != s.engine.Applied() {
		t.Errorf("an update: got %d, noted %d, want %d", w.Code, place(), s.engine.Applied())
	}
	if len(w.Header()["Talos-Edge"])+len(w.Header()["Talos-Position"]) != 0 {
		t.Errorf("a caller that is no edge is told %v", w.Header())
	}
	apitest.WantPosition(t, apitest.AsEdge(s.admin, issuedPath, `{"name":"n","actor_id":"a"}`),
		strconv.FormatUint(s.engine.Applied(), 10))
	w = apitest.Post(s.publicHandler(), selfRevokePath, `{"credential":"`+k.Secret+`"}`)
	if w.Code != http.StatusOK || place() != s.engine.Applied() {
		t.Errorf("a self-revocation: got %d, noted %d, want %d", w.Code, place(), s.engine.Applied())
	}
	if len(w.Header()["Talos-Edge"])+len(w.Header()["Talos-Position"]) != 0 {
		t.Errorf("a holder is told %v", w.Header())
	}
}
