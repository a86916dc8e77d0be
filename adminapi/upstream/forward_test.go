package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

// host is a server that notes what it is asked and answers with a text.
type host struct {
	*httptest.Server

	mu     sync.Mutex
	asked  []*http.Request
	bodies []string
	answer func(http.ResponseWriter, *http.Request)
}

func newHost(t *testing.T, answer func(http.ResponseWriter, *http.Request)) *host {
	t.Helper()
	h := &host{answer: answer}
	h.Server = httptest.NewUnstartedServer(h)
	h.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	t.Cleanup(h.Close)
	return h
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	h.asked, h.bodies = append(h.asked, r), append(h.bodies, string(body))
	h.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	h.answer(w, r)
}

// times is how often it was asked.
func (h *host) times() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.asked)
}

// request is the i-th request, the last for -1.
func (h *host) request(i int) (*http.Request, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i < 0 {
		i += len(h.asked)
	}
	return h.asked[i], h.bodies[i]
}

func text(s string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
}

// reset ends the connection in place of an answer.
func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// nobody is the URL of an upstream that is not there.
const nobody = "http://127.0.0.1:1"

func newUpstream(t *testing.T, config Config) *Remote {
	t.Helper()
	u, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

// pass sends a request as a caller's and returns the answer's body.
func pass(t *testing.T, u *Remote, method, target, body string) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://not.looked.at"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "tenant.example.com"
	r.Header.Set("Authorization", "Bearer caller")
	resp, err := u.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	return string(answer), err
}

func TestAttack16_CallersRequestsCarryNoneOfTheNodesAuthority(t *testing.T) {
	t.Parallel()
	h := newHost(t, text(`{"keys":[{"kid":"1"}]}`))
	h.StartTLS()
	trusted := x509.NewCertPool()
	trusted.AddCert(h.Certificate())
	u := newUpstream(t, Config{
		Addresses: []string{h.URL + "/before"}, Header: http.Header{"Authorization": {"Bearer ours"}, "X-Ours": {"1"}},
		TLS: &tls.Config{RootCAs: trusted, Certificates: h.TLS.Certificates, MinVersion: tls.VersionTLS12},
	})
	if answer, err := pass(t, u, http.MethodPost, "/v2alpha1/admin/x?a=%2F", "body"); err != nil || answer == "" {
		t.Fatalf("got %q, %v", answer, err)
	}
	r, body := h.request(0)
	if r.RequestURI != "/before/v2alpha1/admin/x?a=%2F" || r.Host != "tenant.example.com" || body != "body" ||
		r.Header.Get("Authorization") != "Bearer caller" || r.Header["X-Ours"] != nil ||
		len(r.TLS.PeerCertificates) != 0 {
		t.Errorf("it was sent as %s at %s, %v, with %d certificates",
			r.RequestURI, r.Host, r.Header, len(r.TLS.PeerCertificates))
	}
	_, err := u.SelfRevoke(t.Context(), core.NetworkID{}, "credential", client.RevocationReasonSuperseded)
	if err != nil {
		t.Fatal(err)
	}
	r, body = h.request(1)
	if r.RequestURI != "/before/v2alpha1/apiKeys:selfRevoke" || r.Header["Authorization"] != nil ||
		r.Header["X-Ours"] != nil ||
		body != `{"credential":"credential","reason":"REVOCATION_REASON_SUPERSEDED"}` {
		t.Errorf("a self-revocation was sent as %s, %v, %s", r.RequestURI, r.Header, body)
	}
	set, err := u.JWKS(t.Context(), core.NetworkID{})
	r, _ = h.request(2)
	if err != nil || len(set.Keys) != 1 || len(set.JWKS.Keys) != 1 || r.Header.Get("Authorization") != "Bearer ours" ||
		len(r.TLS.PeerCertificates) != 1 {
		t.Errorf("the key set is %+v, %v; asked for with %v", set, err, r.Header)
	}
}

func TestARequestThatWasSentIsNotSentToASecondAddress(t *testing.T) {
	t.Parallel()
	first, second := newHost(t, reset), newHost(t, text(`{"ok":1}`))
	first.Start()
	second.Start()
	u := newUpstream(t, Config{Addresses: []string{first.URL, second.URL}})
	if _, err := pass(t, u, http.MethodPost, "/v2alpha1/admin/x", "body"); err == nil {
		t.Error("it was answered")
	}
	if _, err := u.SelfRevoke(t.Context(), core.NetworkID{}, "credential", ""); err == nil {
		t.Error("the self-revocation was answered")
	}
	if first.times() != 2 || second.times() != 0 {
		t.Errorf("the first was asked %d times, the second %d", first.times(), second.times())
	}
}

func TestARequestThatCouldNotBeSentGoesToTheNextAddress(t *testing.T) {
	t.Parallel()
	second := newHost(t, text(`{"ok":1}`))
	second.Start()
	plain := newHost(t, text(`{}`))
	plain.Start()
	speaksNoTLS := "https" + strings.TrimPrefix(plain.URL, "http")
	for _, first := range []string{nobody, speaksNoTLS, "https://does-not-exist.invalid"} {
		u := newUpstream(t, Config{Addresses: []string{first, second.URL}})
		answer, err := pass(t, u, http.MethodPost, "/v2alpha1/admin/x", "body")
		if err != nil || answer != `{"ok":1}` {
			t.Errorf("%s: got %q, %v", first, answer, err)
		} else if _, body := second.request(-1); body != "body" {
			t.Errorf("%s: the second address got %q", first, body)
		}
		if _, err := u.SelfRevoke(t.Context(), core.NetworkID{}, "credential", ""); err != nil {
			t.Errorf("%s: %v", first, err)
		}
	}
	u := newUpstream(t, Config{Addresses: []string{nobody, "http://127.0.0.1:2"}})
	if _, err := pass(t, u, http.MethodGet, "/v2alpha1/admin/x", ""); err == nil {
		t.Error("nobody answers, and there is no error")
	}
}

func TestACallerThatGoesAwayIsNotSentOnToOtherAddresses(t *testing.T) {
	t.Parallel()
	second := newHost(t, text(`{}`))
	second.Start()
	u := newUpstream(t, Config{Addresses: []string{nobody, second.URL}})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://x/v2alpha1/admin/x", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := u.RoundTrip(r)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, context.Canceled) || second.times() != 0 {
		t.Errorf("got %v; the second address was asked %d times", err, second.times())
	}
}

func TestTheKeySetIsReadFromEitherPlaceAndIsNeverGuessed(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]int{
		`{"keys":[{"kid":"1"}]}`: 1, `{"jwks":{"keys":[{"kid":"1"},{"kid":"2"}]}}`: 2, `{"keys":[]}`: 0, `{}`: 0,
	} {
		h := newHost(t, text(answer))
		h.Start()
		u := newUpstream(t, Config{Addresses: []string{h.URL}})
		set, err := u.JWKS(t.Context(), core.NetworkID{})
		if err != nil || set.Keys == nil || len(set.Keys) != want || len(set.JWKS.Keys) != want {
			t.Errorf("%s: got %+v, %v", answer, set, err)
		}
	}
	h := newHost(t, text(`<html>`))
	h.Start()
	u := newUpstream(t, Config{Addresses: []string{h.URL}})
	if _, err := u.JWKS(t.Context(), core.NetworkID{}); core.ReasonOf(err) != core.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestASelfRevocationIsRefusedAtOnceWhileTheBreakerIsOpen(t *testing.T) {
	t.Parallel()
	h := newHost(t, reset)
	h.Start()
	u := newUpstream(t, Config{Addresses: []string{h.URL}, Breaker: Breaker{Failures: 1, Pause: 1 << 40}})
	if _, err := lookUp(t.Context(), u, core.NetworkID{}, "credential"); err == nil {
		t.Fatal("a look-up was answered")
	}
	asked := h.times()
	_, err := u.SelfRevoke(t.Context(), core.NetworkID{}, "credential", "")
	if core.ReasonOf(err) != core.Unavailable || h.times() != asked {
		t.Errorf("got %v", err)
	}
}
