package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// mirror answers each credential of a batch with itself as the actor.
type mirror struct {
	mu     sync.Mutex
	sizes  []int
	bytes  []int
	header http.Header
	host   string
	spoil  func([]VerifyResponse) []VerifyResponse
	answer http.Header
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	var in BatchVerifyRequest
	_ = json.Unmarshal(body, &in)
	m.sizes, m.bytes, m.header, m.host = append(m.sizes, len(in.Requests)), append(m.bytes, len(body)), r.Header, r.Host
	out := BatchVerifyResponse{Results: make([]VerifyResponse, len(in.Requests))}
	for i, item := range in.Requests {
		out.Results[i] = VerifyResponse{IsValid: true, ActorID: item.Credential}
	}
	if m.spoil != nil {
		out.Results = m.spoil(out.Results)
	}
	for name, values := range m.answer {
		w.Header()[name] = values
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (m *mirror) client(t *testing.T, opts ...Option) *Client {
	t.Helper()
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	c, err := New(s.URL, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAnyNumberOfCredentialsIsAskedAboutInOrder(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		n, length int
		calls     int
	}{
		"none":                   {0, 0, 0},
		"one":                    {1, 10, 1},
		"a hundred":              {100, 10, 1},
		"a hundred and one":      {101, 10, 2},
		"long ones":              {100, 16 << 10, 4},
		"longer than any batch":  {3, 600 << 10, 3},
		"long ones with escapes": {30, 15 << 10, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &mirror{}
			c := m.client(t)
			creds := make([]string, tc.n)
			for i := range creds {
				creds[i] = fmt.Sprintf("%0*d", tc.length, i)
			}
			var raw json.RawMessage
			out, err := c.BatchVerify(t.Context(), creds, Raw(&raw))
			if err != nil {
				t.Fatal(err)
			}
			var again BatchVerifyResponse
			if err := json.Unmarshal(raw, &again); err != nil ||
				len(again.Results) != tc.n || len(out) != tc.n {
				t.Fatalf("got %d and %d results, %v", len(out), len(again.Results), err)
			}
			for i, cred := range creds {
				if out[i].ActorID != cred || again.Results[i].ActorID != cred {
					t.Errorf("result %d is another's", i)
				}
			}
			if len(m.sizes) != tc.calls {
				t.Errorf("the calls held %v", m.sizes)
			}
			for i, n := range m.bytes {
				if n > MaxBatchBytes && m.sizes[i] > 1 {
					t.Errorf("a call of %d credentials had %d bytes", m.sizes[i], n)
				}
			}
		})
	}
}

func TestAChunkThatFailsFailsTheWhole(t *testing.T) {
	t.Parallel()
	m := &mirror{spoil: func(r []VerifyResponse) []VerifyResponse {
		if len(r) == 100 {
			return r
		}
		return r[1:]
	}}
	var raw json.RawMessage
	out, err := m.client(t).BatchVerify(t.Context(), make([]string, 150), Raw(&raw))
	if out != nil || !errors.Is(err, ErrAnswer) || !strings.Contains(err.Error(), "101 to 150") {
		t.Errorf("got %v, %s, %v", out, raw, err)
	}
}

func TestAnEdgeSaysSoAndReadsWhetherItWasUnderstood(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer http.Header
		want   EdgeAnswer
	}{
		"by ours":              {http.Header{EdgeHeader: {"1"}, PositionHeader: {"42"}}, EdgeAnswer{true, 42}},
		"by ours, no position": {http.Header{EdgeHeader: {"1"}, PositionHeader: {"x"}}, EdgeAnswer{true, 0}},
		"by another":           {nil, EdgeAnswer{}},
		"by a mere position":   {http.Header{PositionHeader: {"42"}}, EdgeAnswer{}},
		"in another version":   {http.Header{EdgeHeader: {"2"}}, EdgeAnswer{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &mirror{answer: tc.answer}
			got := EdgeAnswer{true, 99}
			_, err := m.client(t).BatchVerify(t.Context(), []string{"x"}, Edge(&got))
			if err != nil || got != tc.want {
				t.Errorf("got %+v, %v", got, err)
			}
			if m.header.Get("Talos-Edge") != "1" {
				t.Errorf("asked with %v", m.header)
			}
		})
	}
}

func TestACallMayHaveItsOwnHeadersAndHost(t *testing.T) {
	t.Parallel()
	m := &mirror{}
	c := m.client(t, WithHeader("Authorization", "Bearer a"))
	_, err := c.BatchVerify(t.Context(), []string{"x"},
		Host("tenant.internal"), ForClient(netip.MustParseAddr("::ffff:192.0.2.1")),
		Headers(http.Header{"authorization": {"Bearer b"}, "X-Two": {"1", "2"}}))
	if err != nil || m.host != "tenant.internal" || m.header.Get("X-Forwarded-For") != "192.0.2.1" ||
		len(m.header["Authorization"]) != 1 || m.header.Get("Authorization") != "Bearer b" ||
		len(m.header["X-Two"]) != 2 {
		t.Errorf("got %v, %v, %v", m.host, m.header, err)
	}
	if _, err := c.BatchVerify(t.Context(), []string{"x"}); err != nil ||
		m.header.Get("Authorization") != "Bearer a" {
		t.Errorf("the next call: got %v, %v", m.header, err)
	}
	if base, carrier := c.Target(); base.Host == "" || carrier == nil {
		t.Errorf("got %v, %v", base, carrier)
	}
}

func TestAnAnswerMustSayThatItIsJSONWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	for contentType, ok := range map[string]bool{
		"application/json": true, "application/json; charset=utf-8": true, "application/problem+json": true,
		"text/html": false, "text/plain": false, ";": false,
	} {
		m := &mirror{answer: http.Header{"Content-Type": {contentType}}}
		_, err := m.client(t, WithOnlyJSON()).BatchVerify(t.Context(), []string{"x"})
		if (err == nil) != ok || !ok && !errors.Is(err, ErrAnswer) {
			t.Errorf("%q: got %v", contentType, err)
		}
	}
}

func TestTheLengthOfAnAnswerIsBounded(t *testing.T) {
	t.Parallel()
	m := &mirror{}
	_, err := m.client(t, WithMaxAnswer(50)).BatchVerify(t.Context(), []string{strings.Repeat("x", 50)})
	if !errors.Is(err, ErrAnswer) {
		t.Errorf("got %v", err)
	}
}
