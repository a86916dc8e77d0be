package client

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// dying is a server whose connections end before an answer for as long as it is told to.
func dying(t *testing.T, times int64) (c *Client, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, sent := r.Header["Idempotency-Key"]; sent {
			t.Error("a header is sent that is only for net/http")
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if asked.Add(1) > times {
			_, _ = io.WriteString(w, `{"is_valid":true}`)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}))
	t.Cleanup(s.Close)
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, asked
}

func TestAReadIsRepeatedOnceWhenItsConnectionDies(t *testing.T) {
	t.Parallel()
	c, asked := dying(t, 1)
	if v, err := c.Verify(t.Context(), "x"); err != nil || !v.IsValid || asked.Load() != 2 {
		t.Errorf("got %+v, %v after %d requests", v, err, asked.Load())
	}
	c, asked = dying(t, 99)
	if v, err := c.Verify(t.Context(), "x"); err == nil || asked.Load() != 2 {
		t.Errorf("got %+v, %v after %d requests", v, err, asked.Load())
	}
}

func TestACallThatChangesSomethingIsNotRepeated(t *testing.T) {
	t.Parallel()
	c, asked := dying(t, 99)
	for name, call := range map[string]func() error{
		"issue": func() error {
			_, err := c.Issue(t.Context(), IssueRequest{Name: "n", ActorID: "a"})
			return err
		},
		"revoke":      func() error { return c.Revoke(t.Context(), RevokeRequest{KeyID: issuedID}) },
		"self-revoke": func() error { return c.SelfRevoke(t.Context(), SelfRevokeRequest{Credential: "x"}) },
	} {
		asked.Store(0)
		if err := call(); err == nil || asked.Load() != 1 {
			t.Errorf("%s: got %v after %d requests", name, err, asked.Load())
		}
	}
	asked.Store(0)
	_, err := c.Issue(t.Context(), IssueRequest{Name: "n", ActorID: "a", RequestID: "r"})
	if err == nil || asked.Load() != 2 {
		t.Errorf("with a request id: got %v after %d requests", err, asked.Load())
	}
}

// A repeat of the request that made a key is answered without the secret, which only the first answer held. When that
// one was lost, nobody has the secret.
func TestAKeyWhoseSecretWasLostIsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	const record = `"issued_api_key":{"key_id":"4be0643f-1d98-473b-97cd-ca98a65347dd","name":"n"}`
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if asked.Add(1) == 1 {
			panic(http.ErrAbortHandler) // the key is made, and its answer is lost
		}
		_, _ = io.WriteString(w, `{`+record+`}`)
	}))
	t.Cleanup(s.Close)
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, repeat := range []string{"the client's own", "the caller's"} {
		var raw json.RawMessage
		out, err := c.Issue(t.Context(), IssueRequest{Name: "n", ActorID: "a", RequestID: "r"}, Raw(&raw))
		lost, ok := errors.AsType[*SecretLostError](err)
		if !ok || lost.Key.KeyID != "4be0643f-1d98-473b-97cd-ca98a65347dd" {
			t.Fatalf("%s repeat: got %v", repeat, err)
		}
		for _, hint := range []string{lost.Key.KeyID, "rotate", "revoke", "another request id"} {
			if !strings.Contains(err.Error(), hint) {
				t.Errorf("%s repeat: %q does not say %q", repeat, err, hint)
			}
		}
		if out != nil || lost.Key.Name != "n" || string(raw) != `{`+record+`}` {
			t.Errorf("%s repeat: got %+v, the key %+v, and %s", repeat, out, lost.Key, raw)
		}
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("%d requests", n)
	}
}

// refusing answers with statuses, the last one again and again.
func refusing(t *testing.T, retryAfter string, statuses ...int) (rt transport, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	return func(*http.Request) (*http.Response, error) {
		i := min(int(asked.Add(1)), len(statuses)) - 1
		w := httptest.NewRecorder()
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(statuses[i])
		_, _ = io.WriteString(w, `{"is_valid":true}`)
		return w.Result(), nil
	}, asked
}

func TestACallIsRepeatedAfterRetryAfter(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		retries    int
		retryAfter string
		statuses   []int
		asked      int64
		ok         bool
		least      time.Duration
		most       time.Duration
	}{
		"503": {2, "", []int{503, 200}, 2, true, 0, firstBackoff},
		"429, twice": {
			2, "3", []int{429, 429, 200}, 3, true, 6 * time.Second, 6*time.Second + 3*firstBackoff,
		},
		"too often":            {2, "1", []int{503}, 3, false, 2 * time.Second, 2*time.Second + 3*firstBackoff},
		"not unless asked":     {0, "1", []int{503}, 1, false, 0, 0},
		"an hour is too long":  {2, "3600", []int{503}, 1, false, 0, 0},
		"longer than the call": {2, "20", []int{503}, 1, false, 0, 0},
		"500":                  {2, "", []int{500}, 1, false, 0, 0},
		"404":                  {2, "", []int{404}, 1, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rt, asked := refusing(t, tc.retryAfter, tc.statuses...)
				c, err := New("http://localhost",
					WithTransport(rt), WithRetries(tc.retries), WithTimeout(10*time.Second))
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				_, err = c.Verify(t.Context(), "x")
				if took := time.Since(start); took < tc.least || took > tc.most {
					t.Errorf("it took %s", took)
				}
				_, refused := errors.AsType[*Error](err)
				if asked.Load() != tc.asked || (err == nil) != tc.ok || !tc.ok && !refused {
					t.Errorf("got %v after %d requests", err, asked.Load())
				}
				asked.Store(0)
				if err := c.Revoke(t.Context(), RevokeRequest{KeyID: issuedID}); asked.Load() != 1 {
					t.Errorf("a revocation: got %v after %d requests", err, asked.Load())
				}
			})
		})
	}
}
