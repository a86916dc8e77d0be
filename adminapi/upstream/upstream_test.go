package upstream

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/verify"
)

func TestPrepareNeedsNoSecretAndNoCall(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	u, _ := open(t, nil, serve(t, s, "").URL)
	issued, id := mint(t)
	for name, tc := range map[string]struct {
		network core.NetworkID
		cred    string
		keyID   string
		final   core.Code // CodeValid: none
	}{
		"an issued key": {core.NetworkID{}, issued, id, core.CodeValid},
		"an imported key": {
			core.NetworkID{},
			"any string",
			credential.ImportedKeyID(core.NetworkID{}, "any string"),
			core.CodeValid,
		},
		"a JWT":       {core.NetworkID{}, "eyJ0.eyJz.c2ln", "", core.CodeValid},
		"a macaroon":  {core.NetworkID{}, "mc_v1_AgEA", "", core.CodeValid},
		"nothing":     {core.NetworkID{}, "", "", core.CodeInvalidFormat},
		"a zero byte": {core.NetworkID{}, "a\x00b", "", core.CodeInvalidFormat},
		"no UTF-8":    {core.NetworkID{}, "\xff", "", core.CodeInvalidFormat},
		"more than a credential": {
			core.NetworkID{},
			strings.Repeat("x", credential.MaxLength+1),
			"",
			core.CodeInvalidFormat,
		},
		"more than a key": {
			core.NetworkID{},
			strings.Repeat("x", credential.MaxImportedLength+1),
			credential.ImportedKeyID(core.NetworkID{}, strings.Repeat("x", credential.MaxImportedLength+1)),
			core.CodeNotFound,
		},
		"a key of another network": {networkA, issued, "", core.CodeNotFound},
	} {
		q, final := u.Prepare(tc.network, tc.cred)
		if q.KeyID != tc.keyID || (final == nil) != (tc.final == core.CodeValid) ||
			final != nil && (final.Code != tc.final || final.Network != tc.network) {
			t.Errorf("%s: got %q, %+v", name, q.KeyID, final)
		}
		if final == nil {
			continue
		}
		if v, err := lookUp(t.Context(), u, tc.network, tc.cred); err != nil || v.Code != tc.final {
			t.Errorf("%s: looked up: got %+v, %v", name, v, err)
		}
	}
	if n := len(s.calls("")); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestAttack02_NetworksShareNeitherCallNorHeader(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.edge = true
	gate := make(chan struct{})
	s.fault = func(http.ResponseWriter, *http.Request, []byte) bool { <-gate; return false }
	u, _ := open(t, func(c *Config) {
		c.MaxInFlight = 1
		c.Network, c.Header, c.Host = networkA, http.Header{"Authorization": {"Bearer a"}}, "a.internal"
		c.Networks = []Network{{ID: networkB, Header: http.Header{"Authorization": {"Bearer b"}}, Host: "b.internal"}}
	}, serve(t, s, "").URL)
	v := verifying(t, u, verify.Config{})
	var callers sync.WaitGroup
	for i := range 20 {
		cred, _ := s.add(t, nil)
		callers.Go(func() {
			n := []core.NetworkID{networkA, networkB}[i%2]
			if r, err := v.Verify(t.Context(), n, cred, verify.Use); err != nil || r.Verdict.Network != n {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
	eventually(t, "all wait", func() bool { return v.Stats().Waiting == 19 })
	close(gate)
	callers.Wait()
	by := make(map[string]int)
	for _, call := range s.calls(":batchVerify") {
		by[call.host+" "+call.header.Get("Authorization")] += len(call.credentials)
	}
	if len(by) != 2 || by["a.internal Bearer a"] != 10 || by["b.internal Bearer b"] != 10 {
		t.Errorf("asked were %v", by)
	}
}

func TestAttack02_WhatEverybodyMayAskOfANetworkGoesToItsHost(t *testing.T) {
	t.Parallel()
	h := newHost(t, text(`{"keys":[{"kid":"k"}]}`))
	h.Start()
	u := newUpstream(t, Config{
		Addresses: []string{h.URL}, Network: networkA, Host: "a.internal", OwnHosts: true,
		Networks: []Network{{ID: networkB, Host: "b.internal"}},
	})
	for i, id := range []core.NetworkID{networkA, networkB} {
		want := []string{"a.internal", "b.internal"}[i]
		if _, err := u.SelfRevoke(t.Context(), id, "credential", ""); err != nil {
			t.Fatal(err)
		}
		if _, err := u.JWKS(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		for _, call := range []int{2 * i, 2*i + 1} {
			if r, _ := h.request(call); r.Host != want {
				t.Errorf("%s was sent to %s, want %s", r.URL, r.Host, want)
			}
		}
		if got := u.HostOf(id); got != want {
			t.Errorf("what callers ask is sent to %s, want %s", got, want)
		}
	}
	unknown := core.NetworkID{0xff}
	_, revoked := u.SelfRevoke(t.Context(), unknown, "credential", "")
	_, keySet := u.JWKS(t.Context(), unknown)
	if revoked == nil || keySet == nil {
		t.Errorf("of a network that is not configured the upstream was asked: %v, %v", revoked, keySet)
	}
}

func TestBatchesKeepTheirLimits(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.edge = true
	u, _ := open(t, func(c *Config) { c.Timeout = time.Minute }, serve(t, s, "").URL)
	creds := make([]string, 250)
	for i := range creds {
		creds[i], _ = mint(t)
		if i%2 == 0 { // tokens may be longer than keys
			creds[i] = "mc_v1_" + strings.Repeat("<", 15<<10) + creds[i]
		}
	}
	results, err := verifyMany(t, u, creds)
	for i, r := range results {
		if r.Err != nil || r.Verdict.Code != core.CodeNotFound {
			t.Errorf("credential %d: got %+v, %v", i, r, err)
		}
	}
	var got []string
	for _, call := range s.calls(":batchVerify") {
		got = append(got, call.credentials...)
		if len(call.credentials) > 100 || call.bytes > 512<<10 {
			t.Errorf("a call held %d credentials and %d bytes", len(call.credentials), call.bytes)
		}
	}
	if len(got) != len(creds) {
		t.Errorf("%d credentials were asked about", len(got))
	}
}

func TestConfigurationsThatCannotBeMeantAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"no address":       {},
		"a bad address":    {Addresses: []string{"localhost:4420"}},
		"an address twice": {Addresses: []string{"http://a", "http://a"}},
		"a negative time":  {Addresses: []string{"http://a"}, Timeout: -1},
		"a negative bound": {Addresses: []string{"http://a"}, MaxInFlight: -1},
		"a negative queue": {Addresses: []string{"http://a"}, MaxQueue: -1},
		"a negative pause": {Addresses: []string{"http://a"}, Breaker: Breaker{Pause: -1}},
		"a bad prefix":     {Addresses: []string{"http://a"}, Prefixes: credential.Prefixes{Secret: "?"}},
		"our own header":   {Addresses: []string{"http://a"}, Header: http.Header{"X-Forwarded-For": {"1"}}},
		"a header's name":  {Addresses: []string{"http://a"}, Header: http.Header{"A B": {"secret"}}},
		"a header's value": {
			Addresses: []string{"http://a"},
			Header:    http.Header{"Authorization": {"secret\r\nX: y"}},
		},
		"a network twice": {Addresses: []string{"http://a"}, Networks: []Network{{}}},
		"a network's header": {
			Addresses: []string{"http://a"},
			Networks:  []Network{{ID: networkA, Header: http.Header{"Host": {"x"}}}},
		},
	} {
		if u, err := New(c); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, %v", name, u, err)
		}
	}
}

func TestAfterItsEndTheSourceIsUnavailable(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.fault = func(_ http.ResponseWriter, r *http.Request, _ []byte) bool { <-r.Context().Done(); return true }
	counter := new(callCounter)
	u, _ := open(t, func(c *Config) { c.Observer = counter }, serve(t, s, "").URL)
	cred, _ := mint(t)
	under := make(chan error, 1)
	go func() {
		_, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
		under <- err
	}()
	eventually(t, "the call is out", func() bool { return len(s.calls("")) == 1 })
	u.Close()
	u.Close()
	if err := <-under; core.ReasonOf(err) != core.Unavailable {
		t.Errorf("the one under way: got %v", err)
	}
	if _, err := lookUp(t.Context(), u, core.NetworkID{}, cred); core.ReasonOf(err) != core.Unavailable {
		t.Errorf("got %v", err)
	}
	if got := u.Breakers()[0].State; got != "closed" {
		t.Errorf("the breaker is %s", got)
	}
	if n := counter.all()[ResultCanceled]; n != 1 {
		t.Errorf("%d calls are counted as canceled", n)
	}
}

// lookUpMany looks credentials up as a verifier does that has cached nothing.
func lookUpMany(
	ctx context.Context, u *Remote, network core.NetworkID, creds []string,
) ([]verify.LookupResult, error) {
	results := make([]verify.LookupResult, len(creds))
	var queries []verify.Query
	var places []int // of the queries in results
	for i, cred := range creds {
		q, final := u.Prepare(network, cred)
		if results[i].Verdict = final; final == nil {
			queries, places = append(queries, q), append(places, i)
		}
	}
	if len(queries) == 0 {
		return results, nil
	}
	found, err := u.Lookup(ctx, queries)
	for i := range found {
		results[places[i]] = found[i]
	}
	return results, err
}

func lookUp(ctx context.Context, u *Remote, network core.NetworkID, cred string) (*core.Verdict, error) {
	results, err := lookUpMany(ctx, u, network, []string{cred})
	if err == nil {
		err = results[0].Err
	}
	return results[0].Verdict, err
}

// verifyMany verifies credentials through a verifier, which divides them into calls, and caches nothing.
func verifyMany(t *testing.T, u *Remote, creds []string) ([]verify.LookupResult, error) {
	t.Helper()
	v, err := verify.New(u.Fit(verify.Config{Off: true}), u)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	results := make([]verify.LookupResult, len(creds))
	for i, r := range v.VerifyMany(t.Context(), core.NetworkID{}, creds, verify.NoStore) {
		results[i] = verify.LookupResult{Verdict: r.Verdict, Err: r.Err}
	}
	return results, nil
}
