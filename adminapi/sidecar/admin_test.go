package sidecar

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

func TestASidecarAnswersVerificationsFromItsCache(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	a, b := s.issue(t, ""), s.issue(t, "")
	if v := s.askUntilCached(t, a.Secret); !v.IsValid || v.KeyID != a.IssuedAPIKey.KeyID {
		t.Errorf("got %+v", v)
	}
	s.lookups()
	w := apitest.Post(s.admin, anyPath+":batchVerify",
		`{"requests":[{"credential":"`+a.Secret+`"},{"credential":"`+b.Secret+`"},{"credential":"`+b.Secret+`"}]}`)
	for _, v := range apitest.Unmarshal[client.BatchVerifyResponse](t, w.Body.Bytes()).Results {
		if !v.IsValid {
			t.Errorf("got %+v", v)
		}
	}
	if n := s.lookups(); n != 1 {
		t.Errorf("%d look-ups for one miss", n)
	}
	for header, value := range map[string]string{"Cache-Control": "no-cache", "Pragma": "no-cache"} {
		r := apitest.Request(http.MethodPost, anyPath+":verify", `{"credential":"`+a.Secret+`"}`)
		r.Header.Set(header, value)
		if w := apitest.Serve(s.admin, r); w.Header().Get(cacheHeader) != "MISS" || s.lookups() != 1 {
			t.Errorf("%s: %s is not honoured", header, value)
		}
	}
}

func TestARevocationThroughASidecarCountsThereAtOnce(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	for _, path := range []string{issuedPath + "/%s:revoke", anyPath + "/%s:revoke"} {
		k := s.issue(t, "")
		if v, _ := s.ask(t, k.Secret); !v.IsValid {
			t.Fatal("a new key is not valid")
		}
		w := apitest.Post(s.admin, strings.Replace(path, "%s", k.IssuedAPIKey.KeyID, 1), "")
		if w.Code != http.StatusOK || w.Body.String() != "{}\n" {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		apitest.WantHeaders(t, w)
		if v, cache := s.ask(t, k.Secret); v.ErrorCode != client.VerificationErrorRevoked || cache != "MISS" {
			t.Errorf("after it: %+v, %s", v, cache)
		}
	}
}

// atAnswer calls a function when the answer begins.
type atAnswer struct {
	*httptest.ResponseRecorder
	begin func()
}

func (w *atAnswer) WriteHeader(status int) {
	w.begin()
	w.ResponseRecorder.WriteHeader(status)
}

func TestAChangeThatPassesIsForgottenBeforeItsAnswer(t *testing.T) {
	t.Parallel()
	const id, hex = "4be0643f-1d98-473b-97cd-ca98a65347dd", "4be0643f1d98473b97cdca98a65347dd"
	imported := credential.ImportedKeyID(core.NetworkID{}, "raw")
	second := credential.ImportedKeyID(core.NetworkID{}, "second")
	for name, tc := range map[string]struct {
		method, path, body string
		answer             string
		want               []string
	}{
		"revoke issued":   {"POST", issuedPath + "/" + id + ":revoke", "{}", "{}", []string{id}},
		"revoke imported": {"POST", importedPath + "/" + imported + ":revoke", "", "{}", []string{imported}},
		"revoke either":   {"POST", anyPath + "/" + id + ":revoke", "", "{}", []string{id}},
		"update":          {"PATCH", issuedPath + "/" + id + "?update_mask=name", `{"name":"n"}`, "{}", []string{id}},
		"delete":          {"DELETE", importedPath + "/" + imported, "", "{}", []string{imported}},
		"rotate": {
			"POST", issuedPath + "/" + id + ":rotate", "{}",
			`{"issued_api_key":{"key_id":"new"},"secret":"s","old_issued_api_key":{"key_id":"` + id + `"}}`,
			[]string{id, "new"},
		},
		"rotate by a path of another implementation": {
			"POST", anyPath + "/" + id + ":rotate", "{}", `{"issued_api_key":{"key_id":"new"}}`, []string{id, "new"},
		},
		"issue": {"POST", issuedPath, "{}", `{"issued_api_key":{"key_id":"new"},"secret":"s"}`, []string{"new"}},
		"import": {
			"POST", importedPath, `{"raw_key":"raw"}`, `{"imported_api_key":{"key_id":"x"}}`, []string{imported, "x"},
		},
		"import, in the other form": {
			"POST", importedPath, `{"raw_key":"raw"}`, `{"key_id":"x"}`, []string{imported, "x"},
		},
		"import many": {
			"POST", importedPath + ":batchCreate", `{"requests":[{"raw_key":"raw"},{"raw_key":"second"},{}]}`,
			`{"results":[{"index":0,"imported_api_key":{"key_id":"x"}},{"index":1,"error_code":"E"}]}`,
			[]string{imported, second, "x"},
		},
		"something of a later version": {"POST", issuedPath + "/" + id + "/limits:reset", "{}", "{}", []string{id}},
		"another case": {
			"POST", anyPath + "/" + strings.ToUpper(id) + ":revoke", "", "{}",
			[]string{id, strings.ToUpper(id)},
		},
		"no hyphens": {
			"POST", anyPath + "/" + strings.ToUpper(hex) + ":revoke", "", "{}",
			[]string{id, hex, strings.ToUpper(hex)},
		},
		"show":   {"GET", issuedPath + "/" + id, "", "{}", nil},
		"list":   {"GET", issuedPath + "?page_size=1", "", `{"issued_api_keys":[{"key_id":"x"}]}`, nil},
		"derive": {"POST", anyPath + ":derive", "{}", `{"token":{}}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSidecarNode(t)
			for outcome, h := range map[string]http.HandlerFunc{
				"ok":      func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tc.answer) },
				"refused": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusConflict) },
				"failed":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
				"reset":   func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
				"garbage": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
			} {
				s.answers(h)
				want := slices.Clone(tc.want)
				if outcome != "ok" { // then no key that the answer would name came to be, as far as is known
					want = slices.DeleteFunc(want, func(id string) bool { return id == "new" || id == "x" })
				}
				slices.Sort(want)
				var got []string
				w := &atAnswer{ResponseRecorder: httptest.NewRecorder(), begin: func() { got = s.forgets() }}
				s.admin.ServeHTTP(w, apitest.Request(tc.method, tc.path, tc.body))
				if !slices.Equal(got, want) {
					t.Errorf("%s: when the answer (%d) began, %v were forgotten, want %v", outcome, w.Code, got, want)
				}
				if outcome == "ok" && w.Body.String() != tc.answer {
					t.Errorf("the answer is %s", w.Body)
				}
				if outcome == "reset" {
					apitest.WantError(t, w.ResponseRecorder, http.StatusServiceUnavailable, core.Unavailable)
				}
			}
		})
	}
}

func TestAnUpstreamThatCannotBeReachedIsUnavailable(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	k := s.issue(t, "")
	s.set(func() { s.down = errors.New("connection refused by secret.internal") })
	for _, w := range []*httptest.ResponseRecorder{
		apitest.Post(s.admin, anyPath+"/"+k.IssuedAPIKey.KeyID+":revoke", ""),
		apitest.Post(s.admin, issuedPath, `{"name":"n","actor_id":"a"}`),
		apitest.Get(s.admin, issuedPath+"/"+k.IssuedAPIKey.KeyID),
		apitest.Get(s.admin, jwksPath),
		apitest.Post(s.admin, anyPath+":verify", `{"credential":"`+k.Secret+`"}`),
		apitest.Post(s.publicHandler(), selfRevokePath, `{"credential":"`+k.Secret+`"}`),
		apitest.Get(s.publicHandler(), jwksPath),
		apitest.Get(s.publicHandler(), readyPath),
	} {
		e := apitest.WantError(t, w, http.StatusServiceUnavailable, core.Unavailable)
		if w.Header().Get("Retry-After") == "" || strings.Contains(e.Message, "internal") {
			t.Errorf("got %v %+v", w.Header(), e)
		}
	}
	if got := s.forgets(); !slices.Equal(got, []string{k.IssuedAPIKey.KeyID}) {
		t.Errorf("a change of an unknown outcome: %v were forgotten", got)
	}
	e := apitest.WantError(t, apitest.Get(s.admin, readyPath), http.StatusServiceUnavailable, core.Unavailable)
	if !strings.Contains(e.Message, "refused") {
		t.Errorf("the operator is told %q", e.Message)
	}
	if w := apitest.Get(s.admin, alivePath); w.Code != http.StatusOK {
		t.Errorf("alive: %d", w.Code)
	}
}

func TestAChangeGoesOnWhenItsCallerDoesNot(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	ctx, leave := context.WithCancel(t.Context())
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		leave()
		<-ctx.Done()
		if r.Context().Err() == nil {
			_, _ = io.WriteString(w, "{}")
		}
	})
	r := apitest.Request(http.MethodPost, anyPath+"/"+unknownUUID+":revoke", "").WithContext(ctx)
	if w := apitest.Serve(s.admin, r); w.Code != http.StatusOK || !slices.Equal(s.forgets(), []string{unknownUUID}) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestAVerificationThatAnEdgeAsksForPasses(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	k := s.issue(t, `,"ip_restriction":{"allowed_cidrs":["203.0.113.0/24"]}`)
	w := apitest.AsEdge(s.admin, anyPath+":verify", `{"credential":"`+k.Secret+`"}`)
	apitest.WantPosition(t, w, "1")
	if s.lookups() != 0 || !strings.Contains(w.Body.String(), `"203.0.113.0/24"`) {
		t.Errorf("got %s", w.Body)
	}
	if v, _ := s.ask(t, k.Secret); v.ErrorCode != client.VerificationErrorIPNotAllowed || v.IPRestriction != nil {
		t.Errorf("another caller gets %+v", v)
	}
}

func TestAnIPListIsJudgedForTheCallersAddress(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	k := s.issue(t, "")
	id := k.IssuedAPIKey.KeyID
	s.set(func() { s.verdict = &core.Verdict{KeyID: id, Code: core.CodeIPNotAllowed, Status: core.StatusActive} })
	batch := `{"requests":[{"credential":"` + k.Secret + `"},{"credential":"` + k.Secret + `x"}]}`
	for range 2 { // nothing of it is remembered
		if v, cache := s.ask(t, k.Secret); !v.IsValid || v.KeyID != id || cache != "MISS" {
			t.Errorf("got %+v, %s", v, cache)
		}
		w := apitest.Post(s.admin, anyPath+":batchVerify", batch)
		out := apitest.Unmarshal[client.BatchVerifyResponse](t, w.Body.Bytes()).Results
		if !out[0].IsValid || out[1].ErrorCode != client.VerificationErrorNotFound {
			t.Errorf("got %+v", out)
		}
	}
	if len(s.askedFor) != 6 || s.askedFor[0] != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("asked for %v", s.askedFor)
	}
	s.set(func() { s.httpDown = apitest.ErrDown() })
	apitest.WantError(t, apitest.Post(s.admin, anyPath+":verify", `{"credential":"`+k.Secret+`"}`),
		503, core.Unavailable)
}

func TestThePublicSurfaceOfASidecarAsksForEverybodyOnceInAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		var trouble error
		release := make(chan struct{})
		k := cached[int]{ttl: time.Second, fetch: func(ctx context.Context) (int, error) {
			asked++
			<-release
			return asked, errors.Join(trouble, ctx.Err())
		}}
		gone, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if v, err := k.get(t.Context()); v != 1 || err != nil {
					t.Errorf("got %d, %v", v, err)
				}
			})
		}
		wg.Go(func() {
			if _, err := k.get(gone); err != nil && core.ReasonOf(err) != core.DeadlineExceeded {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		leave() // harms nobody else
		synctest.Wait()
		close(release)
		wg.Wait()
		trouble = apitest.ErrDown()
		time.Sleep(time.Second)
		for range 10 { // a failure is not asked for again and again either
			if _, err := k.get(t.Context()); core.ReasonOf(err) != core.Unavailable {
				t.Errorf("got %v", err)
			}
		}
		trouble = nil
		time.Sleep(time.Second)
		if v, err := k.get(t.Context()); v != 3 || err != nil || asked != 3 {
			t.Errorf("got %d, %v after %d calls", v, err, asked)
		}
	})
}
