package upstream

import (
	"errors"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// lookUpPanicking makes a call that panics as soon as it has a connection. It reports whether the call was made.
func lookUpPanicking(t *testing.T, u *Remote, cred string) (panicked bool) {
	t.Helper()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GetConn: func(string) { panic("the call's own") },
	})
	defer func() { panicked = recover() != nil }()
	_, _ = lookUp(ctx, u, core.NetworkID{}, cred)
	return false
}

func TestCallsThatPanicOpenTheBreaker(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	u, _ := open(t, func(c *Config) { c.Breaker = Breaker{Failures: 2, Pause: time.Hour} }, serve(t, s, "").URL)
	cred, _ := mint(t)
	for range 2 {
		if !lookUpPanicking(t, u, cred) {
			t.Fatal("the panic did not reach the caller")
		}
	}
	if got := u.Breakers()[0].State; got != "open" {
		t.Errorf("the breaker is %s", got)
	}
}

func TestAProbeThatPanicsIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.edge = true
	s.fault = saying(500, jsonType, envelope)
	u, _ := open(t, func(c *Config) { c.Breaker.Failures = 1 }, serve(t, s, "").URL)
	cred, _ := s.add(t, nil)
	if _, err := lookUp(t.Context(), u, core.NetworkID{}, cred); err == nil {
		t.Fatal("a look-up was answered")
	}
	s.set(func() { s.fault = nil })
	eventually(t, "a probe panics", func() bool { return lookUpPanicking(t, u, cred) })
	if got := u.Breakers()[0].State; got == "closed" {
		t.Error("the breaker is closed")
	}
	eventually(t, "the next probe is answered", func() bool {
		v, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
		return err == nil && v.Code == core.CodeValid
	})
}

// currentAddress is the place of the address that calls go to first.
func currentAddress(t *testing.T, u *Remote) int {
	t.Helper()
	for i, b := range u.Breakers() {
		if b.Current {
			return i
		}
	}
	t.Fatal("no address is the current one")
	return -1
}

// openBreakerAtCurrent makes an upstream of two addresses. Calls go to the first one, whose breaker is open; that of
// the second is closed.
func openBreakerAtCurrent(t *testing.T, a, b *standIn) *Remote {
	t.Helper()
	a.set(func() { a.fault = saying(500, jsonType, envelope) })
	b.set(func() { b.fault = saying(429, jsonType, envelope) })
	u, _ := open(t, func(c *Config) { c.Breaker = Breaker{Failures: 1, Pause: time.Hour} },
		serve(t, a, "").URL, serve(t, b, "").URL)
	cred, _ := mint(t)
	for range 3 {
		_, _ = lookUp(t.Context(), u, core.NetworkID{}, cred)
		got := u.Breakers()
		if got[0].Current && got[0].State == "open" && got[1].State == "closed" {
			return u
		}
	}
	t.Fatalf("got %+v", u.Breakers())
	return nil
}

func TestReadyPassesOverAnAddressWhoseBreakerIsOpen(t *testing.T) {
	t.Parallel()
	a, b := newStandIn(), newStandIn()
	u := openBreakerAtCurrent(t, a, b)
	a.set(func() { a.fault = nil })
	b.set(func() { b.fault = nil })
	if err := u.Ready(t.Context()); err != nil {
		t.Errorf("got %v", err)
	}
	if n := len(a.calls("/health/ready")); n != 0 {
		t.Errorf("the address whose breaker is open was asked %d times", n)
	}
	if n := len(b.calls("/health/ready")); n != 1 {
		t.Errorf("the other one was asked %d times", n)
	}
	if got := currentAddress(t, u); got != 0 {
		t.Errorf("calls go to address %d first", got)
	}
}

func TestReadyMovesNoCalls(t *testing.T) {
	t.Parallel()
	a, b := newStandIn(), newStandIn()
	a.fault = saying(503, jsonType, envelope)
	u, _ := open(t, nil, serve(t, a, "").URL, serve(t, b, "").URL)
	if err := u.Ready(t.Context()); err != nil {
		t.Errorf("got %v", err)
	}
	if n := len(b.calls("/health/ready")); n != 1 {
		t.Errorf("the second one was asked %d times", n)
	}
	if got := currentAddress(t, u); got != 0 {
		t.Errorf("calls go to address %d first", got)
	}
}

func TestARetryAfterIsBounded(t *testing.T) {
	t.Parallel()
	for _, status := range []int{429, 500, 503} {
		for said, want := range map[string]time.Duration{
			"29": 29 * time.Second, "30": maxRetry, "31": maxRetry, "86400": maxRetry, "2147483647": maxRetry,
		} {
			s := newStandIn()
			s.fault = saying(status, jsonType, envelope, "Retry-After", said)
			u, _ := open(t, nil, serve(t, s, "").URL)
			cred, _ := mint(t)
			_, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
			if e, ok := errors.AsType[*core.Error](err); !ok || e.RetryAfter != want {
				t.Errorf("%d with Retry-After %s: got %#v", status, said, err)
			}
		}
	}
}
