package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

func TestWhileTheBreakerIsOpenNobodyIsAskedAndNobodyWaits(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.fault = saying(500, jsonType, envelope)
	u, logs := open(t, func(c *Config) { c.Breaker.Pause = time.Hour }, serve(t, s, "").URL)
	cred, _ := mint(t)
	for range 5 {
		if _, err := lookUp(t.Context(), u, core.NetworkID{}, cred); core.ReasonOf(err) != core.Unavailable {
			t.Fatalf("got %v", err)
		}
	}
	for range 100 {
		_, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
		e, ok := errors.AsType[*core.Error](err)
		if !ok || e.Reason != core.Unavailable || e.RetryAfter <= 0 {
			t.Fatalf("got %v", err)
		}
	}
	if n := len(s.calls(":batchVerify")); n != 5 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if b := u.Breakers()[0]; b.State != "open" {
		t.Errorf("got %+v", b)
	}
	if err := u.Ready(t.Context()); core.ReasonOf(err) != core.Unavailable {
		t.Errorf("it is ready: %v", err)
	}
	if n := logs.FilterLevelExact(zap.ErrorLevel).FilterMessageSnippet("the upstream does not answer").Len(); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
}

func TestRecoveryBeginsWithOneProbe(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.edge = true
	down := true
	release := make(chan struct{})
	s.fault = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		s.mu.Lock()
		failing := down
		s.mu.Unlock()
		if failing {
			return saying(500, jsonType, envelope)(w, r, body)
		}
		<-release
		return false
	}
	u, _ := open(t, func(c *Config) { c.MaxInFlight = 1 }, serve(t, s, "").URL)
	cred, _ := s.add(t, nil)
	eventually(t, "the breaker opens", func() bool {
		_, _ = lookUp(t.Context(), u, core.NetworkID{}, cred)
		return u.Breakers()[0].State == "open"
	})
	s.set(func() { down = false })
	before := len(s.calls(":batchVerify"))
	eventually(t, "it lets probes through", func() bool { return u.Breakers()[0].State == "half-open" })
	probe := make(chan error, 1)
	go func() {
		_, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
		probe <- err
	}()
	eventually(t, "the probe arrives", func() bool { return len(s.calls(":batchVerify")) == before+1 })
	for range 50 {
		_, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
		if core.ReasonOf(err) != core.Unavailable || err == nil {
			t.Fatalf("got %v", err)
		}
	}
	if n := len(s.calls(":batchVerify")) - before; n != 1 {
		t.Errorf("%d calls before the probe had its answer", n)
	}
	close(release)
	if err := <-probe; err != nil {
		t.Errorf("the probe: %v", err)
	}
	if _, err := lookUp(t.Context(), u, core.NetworkID{}, cred); err != nil {
		t.Errorf("after: %v", err)
	}
}

func TestCredentialsThatAreNotValidOpenNoBreaker(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	u, _ := open(t, nil, serve(t, s, "").URL)
	for range 30 {
		cred, _ := mint(t)
		if v, err := lookUp(t.Context(), u, core.NetworkID{}, cred); err != nil || v.Code != core.CodeNotFound {
			t.Fatalf("got %+v, %v", v, err)
		}
	}
}

func TestATooManyRequestsIsNoFailureAndSaysWhenToTryAgain(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.fault = saying(429, jsonType, envelope, "Retry-After", "7")
	u, _ := open(t, nil, serve(t, s, "").URL)
	cred, _ := mint(t)
	for range 10 {
		_, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
		e, ok := errors.AsType[*core.Error](err)
		if !ok || e.Reason != core.Unavailable || e.RetryAfter != 7*time.Second ||
			!errors.Is(err, verify.ErrThrottled) {
			t.Fatalf("got %#v", err)
		}
	}
	if b := u.Breakers()[0]; b.State != "closed" {
		t.Errorf("got %+v", b)
	}
}

func TestWhenAnAddressFailsTheNextOneIsUsedAndKept(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]fault{
		"500":        saying(500, jsonType, envelope),
		"429":        saying(429, jsonType, envelope),
		"401":        saying(401, jsonType, envelope),
		"a page":     saying(200, "text/html", "<html>"),
		"a reset":    func(w http.ResponseWriter, _ *http.Request, _ []byte) bool { hijack(w, ""); return true },
		"no address": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newStandIn(), newStandIn()
			a.edge, b.edge = true, true
			cred, _ := b.add(t, nil)
			a.fault = broken
			first := serve(t, a, "")
			if broken == nil {
				first.Close()
			}
			u, _ := open(t, nil, first.URL, serve(t, b, "").URL)
			for range 10 {
				if v, err := lookUp(t.Context(), u, core.NetworkID{}, cred); err != nil || v.Code != core.CodeValid {
					t.Fatalf("got %+v, %v", v, err)
				}
			}
			if n := len(a.calls(":batchVerify")); n > 2 {
				t.Errorf("the broken one was asked %d times", n)
			}
			if got := u.Breakers(); got[0].Current || !got[1].Current {
				t.Errorf("got %+v", got)
			}
			b.set(func() { b.fault = saying(500, jsonType, envelope) })
			if v, err := lookUp(t.Context(), u, core.NetworkID{}, cred); err == nil ||
				errors.Is(err, verify.ErrMisconfigured) != (name == "401") {
				t.Errorf("all fail: got %+v, %v", v, err)
			}
		})
	}
}

func TestAnAddressThatHangsIsLeftAfterOneCall(t *testing.T) {
	t.Parallel()
	a, b := newStandIn(), newStandIn()
	b.edge = true
	a.fault = func(_ http.ResponseWriter, r *http.Request, _ []byte) bool { <-r.Context().Done(); return true }
	cred, _ := b.add(t, nil)
	u, _ := open(t, func(c *Config) { c.Timeout = time.Second }, serve(t, a, "").URL, serve(t, b, "").URL)
	if v, err := lookUp(t.Context(), u, core.NetworkID{}, cred); core.ReasonOf(err) != core.Unavailable || err == nil {
		t.Errorf("got %+v, %v", v, err)
	}
	if v, err := lookUp(t.Context(), u, core.NetworkID{}, cred); err != nil || v.Code != core.CodeValid {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestACallWithoutTimeIsNobodysFailure(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.fault = func(_ http.ResponseWriter, r *http.Request, _ []byte) bool { <-r.Context().Done(); return true }
	counter := new(callCounter)
	u, _ := open(t, func(c *Config) { c.Observer = counter }, serve(t, s, "").URL)
	for range 10 {
		cred, _ := mint(t)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := lookUp(ctx, u, core.NetworkID{}, cred); core.ReasonOf(err) != core.Unavailable || err == nil {
			t.Errorf("got %v", err)
		}
		cancel()
	}
	if got := u.Breakers()[0].State; got != "closed" {
		t.Errorf("the breaker is %s", got)
	}
	if n := counter.all()[ResultTimeout]; n != 0 {
		t.Errorf("%d calls are counted as timeouts", n)
	}
}

func TestAttack23_NothingStaleIsServedToANodeThatIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault fault
		stale bool
	}{
		"500": {saying(500, jsonType, envelope), true},
		"429": {saying(429, jsonType, envelope), true},
		"401": {saying(401, jsonType, envelope), false},
		"404": {saying(404, "text/plain", "404 page not found"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn()
			s.edge = true
			cred, _ := s.add(t, nil)
			revoked, _ := s.add(t, refusedAs("VERIFICATION_ERROR_REVOKED"))
			u, logs := open(t, nil, serve(t, s, "").URL)
			v := verifying(t, u, verify.Config{TTL: time.Second, NegativeTTL: time.Second})
			for _, c := range []string{cred, revoked} {
				if _, err := v.Verify(t.Context(), core.NetworkID{}, c, verify.Use); err != nil {
					t.Fatal(err)
				}
			}
			s.set(func() { s.fault = tc.fault })
			eventually(t, "the verdict is past its lifetime", func() bool {
				r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
				if tc.stale {
					return err == nil && r.Cache == verify.Stale && r.Verdict.Code == core.CodeValid
				}
				if r.Cache == verify.Stale {
					t.Error("it was served stale")
				}
				return errors.Is(err, verify.ErrMisconfigured)
			})
			eventually(t, "the negative is past its lifetime", func() bool {
				r, err := v.Verify(t.Context(), core.NetworkID{}, revoked, verify.Use)
				return r.Verdict == nil && core.ReasonOf(err) == core.Unavailable
			})
			told := logs.FilterLevelExact(zap.ErrorLevel).FilterMessageSnippet("nothing stale is served").Len()
			if tc.stale != (told == 0) {
				t.Errorf("%d lines say that nothing stale is served", told)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.edge = true
	cred, _ := s.add(t, nil)
	server := httptest.NewUnstartedServer(s)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	var mu sync.Mutex
	protocols := make(map[string]int)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		protocols[r.Proto]++
		mu.Unlock()
		s.ServeHTTP(w, r)
	})
	server.StartTLS()
	t.Cleanup(server.Close)

	u, _ := open(t, nil, server.URL)
	if v, err := lookUp(t.Context(), u, core.NetworkID{}, cred); core.ReasonOf(err) != core.Unavailable || err == nil ||
		errors.Is(err, verify.ErrMisconfigured) {
		t.Errorf("an untrusted certificate: got %+v, %v", v, err)
	}
	if len(s.calls("")) != 0 {
		t.Error("the credential was sent to an untrusted server")
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	u, _ = open(t, func(c *Config) { c.TLS = &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12} }, server.URL)
	for range 3 {
		if v, err := lookUp(t.Context(), u, core.NetworkID{}, cred); err != nil || v.Code != core.CodeValid {
			t.Errorf("got %+v, %v", v, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if protocols["HTTP/2.0"] != 3 {
		t.Errorf("spoken were %v", protocols)
	}
}

func TestReadyAsksTheUpstream(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	server := serve(t, s, "")
	u, _ := open(t, nil, server.URL)
	if err := u.Ready(t.Context()); err != nil {
		t.Errorf("got %v", err)
	}
	s.set(func() { s.fault = saying(503, jsonType, envelope) })
	for range 10 {
		if err := u.Ready(t.Context()); core.ReasonOf(err) != core.Unavailable || err == nil {
			t.Errorf("got %v", err)
		}
	}
	if got := u.Breakers()[0].State; got != "closed" {
		t.Errorf("the breaker is %s", got)
	}
	if calls := s.calls("/health/ready"); len(calls) == 0 ||
		strings.Contains(calls[0].header.Get("Authorization"), "x") {
		t.Errorf("got %+v", calls)
	}
}
