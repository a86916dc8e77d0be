package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret = "ory_ak_v1_very_secret"

	issuedID   = "4be0643f-1d98-473b-97cd-ca98a65347dd"
	importedID = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

// server answers every request with a status and a body, and tells what it was asked.
func server(t *testing.T, status int, answer string, opts ...Option) (c *Client, asked func() string) {
	t.Helper()
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.RequestURI + " " + r.Header.Get("Content-Type") + " " + r.Header.Get("Cache-Control") +
			" " + string(body)
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	c, err := New(s.URL+"/prefix/", opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, func() string { return got }
}

func TestEachCallIsWrittenAsTheContractSays(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer string
		call   func(context.Context, *Client, CallOption) error
		asked  string
	}{
		"issue": {
			`{"issued_api_key":{"key_id":"k"},"secret":"s"}`,
			func(ctx context.Context, c *Client, o CallOption) error {
				v, err := c.Issue(ctx, IssueRequest{
					Name: "n", ActorID: "a", TTL: "1h", RateLimitPolicy: &RateLimitPolicy{Quota: 5},
				}, o)
				if err == nil && (v.Secret != "s" || v.IssuedAPIKey.KeyID != "k") {
					t.Errorf("got %+v", v)
				}
				return err
			},
			`POST /prefix/v2alpha1/admin/issuedApiKeys application/json  ` +
				`{"name":"n","actor_id":"a","ttl":"1h","rate_limit_policy":{"quota":"5"}}`,
		},
		"get": {
			`{"key_id":"k","metadata":{"a": 1},"create_time":"2026-01-02T03:04:05.5Z"}`,
			func(ctx context.Context, c *Client, o CallOption) error {
				v, err := c.Get(ctx, GetRequest{Kind: Issued, KeyID: "a/b c"}, o)
				if err == nil && (string(v.Metadata) != `{"a": 1}` || v.CreateTime.Nanosecond() != 5e8 ||
					!v.ExpireTime.IsZero()) {
					t.Errorf("got %+v", v)
				}
				return err
			},
			`GET /prefix/v2alpha1/admin/issuedApiKeys/a%2Fb%20c   `,
		},
		"revoke": {`{}`, func(ctx context.Context, c *Client, o CallOption) error {
			return c.Revoke(ctx, RevokeRequest{Kind: Issued, KeyID: "k", Reason: RevocationReasonSuperseded}, o)
		}, `POST /prefix/v2alpha1/admin/issuedApiKeys/k:revoke application/json  ` +
			`{"reason":"REVOCATION_REASON_SUPERSEDED"}`},
		"revoke by the form of the id, issued": {`{}`, func(ctx context.Context, c *Client, o CallOption) error {
			return c.Revoke(ctx, RevokeRequest{KeyID: issuedID}, o)
		}, `POST /prefix/v2alpha1/admin/issuedApiKeys/` + issuedID + `:revoke application/json  {}`},
		"revoke by the form of the id, imported": {`{}`, func(ctx context.Context, c *Client, o CallOption) error {
			return c.Revoke(ctx, RevokeRequest{KeyID: importedID}, o)
		}, `POST /prefix/v2alpha1/admin/importedApiKeys/` + importedID + `:revoke application/json  {}`},
		"verify": {
			`{"is_valid":true,"rate_limit_remaining":"4"}`,
			func(ctx context.Context, c *Client, o CallOption) error {
				v, err := c.Verify(ctx, "x", NoCache(), o)
				if err == nil && (!v.IsValid || *v.RateLimitRemaining != 4) {
					t.Errorf("got %+v", v)
				}
				return err
			},
			`POST /prefix/v2alpha1/admin/apiKeys:verify application/json no-cache {"credential":"x"}`,
		},
		"batch verify": {
			`{"results":[{"is_valid":true},{"is_valid":false}]}`,
			func(ctx context.Context, c *Client, o CallOption) error {
				v, err := c.BatchVerify(ctx, []string{"x", "y"}, o)
				if err == nil && (!v[0].IsValid || v[1].IsValid) {
					t.Errorf("got %+v", v)
				}
				return err
			},
			`POST /prefix/v2alpha1/admin/apiKeys:batchVerify application/json  ` +
				`{"requests":[{"credential":"x"},{"credential":"y"}]}`,
		},
		"self-revoke": {`{}`, func(ctx context.Context, c *Client, o CallOption) error {
			return c.SelfRevoke(ctx, SelfRevokeRequest{Credential: "x"}, o)
		}, `POST /prefix/v2alpha1/apiKeys:selfRevoke application/json  {"credential":"x"}`},
		"key set": {
			`{"keys":[{}],"jwks":{"keys":[{}]}}`,
			func(ctx context.Context, c *Client, o CallOption) error {
				_, err := c.JWKS(ctx, o)
				return err
			},
			`GET /prefix/v2alpha1/derivedKeys/jwks.json   `,
		},
		"ready": {``, func(ctx context.Context, c *Client, o CallOption) error {
			return c.Ready(ctx, o)
		}, `GET /prefix/health/ready   `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, asked := server(t, http.StatusOK, tc.answer+"\n")
			var raw json.RawMessage
			if err := tc.call(t.Context(), c, Raw(&raw)); err != nil {
				t.Fatal(err)
			}
			if string(raw) != tc.answer {
				t.Errorf("the raw answer is %s", raw)
			}
			if asked() != tc.asked {
				t.Errorf("asked\n%s\nwant\n%s", asked(), tc.asked)
			}
		})
	}
}

func TestARefusalIsAnErrorWithItsReason(t *testing.T) {
	t.Parallel()
	c, _ := server(t, http.StatusNotFound, `{"error":{"code":404,"message":"no such key","status":"NOT_FOUND",`+
		`"details":[{"@type":"x"},{"@type":"y","reason":"API_KEY_NOT_FOUND","domain":"d"}]}}`)
	_, err := c.Get(t.Context(), GetRequest{KeyID: issuedID})
	e, ok := errors.AsType[*Error](err)
	if !ok || e.HTTP != 404 || e.Status != "NOT_FOUND" || e.Reason != ReasonKeyNotFound || e.Message != "no such key" ||
		e.RetryAfter != 7*time.Second {
		t.Fatalf("got %#v", err)
	}
	if e.Error() != "no such key (API_KEY_NOT_FOUND, HTTP 404)" {
		t.Errorf("it reads %q", e)
	}
}

func TestAnAnswerThatIsNotTheAPIsIsAnErrorWithoutItsText(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		http   bool // an *Error
	}{
		"a page":             {200, "<html>" + secret, false},
		"nothing":            {200, "", false},
		"another type":       {200, `{"is_valid":"` + secret + `"}`, false},
		"an array":           {200, `["` + secret + `"]`, false},
		"two values":         {200, `{}{}`, false},
		"too long":           {200, `"` + strings.Repeat("x", MaxAnswer) + `"`, false},
		"a page of an error": {502, "<html>" + secret, true},
		"an error in text":   {401, secret, true},
		"a redirect":         {302, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := server(t, tc.status, tc.body)
			var raw json.RawMessage
			v, err := c.Verify(t.Context(), secret, Raw(&raw))
			if v != nil || raw != nil || err == nil || strings.Contains(err.Error(), "secret") {
				t.Fatalf("got %v, %s, %v", v, raw, err)
			}
			if e, ok := errors.AsType[*Error](err); ok != tc.http || !ok && !errors.Is(err, ErrAnswer) ||
				ok && (e.HTTP != tc.status || e.Reason != "") {
				t.Errorf("got %#v", err)
			}
		})
	}
}

func TestABatchAnswerOfAnotherLengthIsAnError(t *testing.T) {
	t.Parallel()
	c, _ := server(t, http.StatusOK, `{"results":[{"is_valid":true}]}`)
	if v, err := c.BatchVerify(t.Context(), []string{"x", "y"}); v != nil || !errors.Is(err, ErrAnswer) {
		t.Errorf("got %v, %v", v, err)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the credential went elsewhere")
	}))
	t.Cleanup(elsewhere.Close)
	s := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(s.Close)
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Verify(t.Context(), secret); err == nil {
		t.Error("no error")
	}
}

func TestACallEndsWithItsTimeOrItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := transport(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		c, err := New("http://localhost", WithTransport(hang), WithTimeout(2*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := c.Verify(t.Context(), secret); !errors.Is(err, context.DeadlineExceeded) ||
			strings.Contains(err.Error(), secret) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("it took %s", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Verify(ctx, secret); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestHeadersAreSentWithEachCall(t *testing.T) {
	t.Parallel()
	c, asked := server(t, http.StatusOK, `{"is_valid":false}`, WithHeader("Cache-Control", "max-age=1"))
	for range 2 {
		if _, err := c.Verify(t.Context(), "x"); err != nil || !strings.Contains(asked(), "max-age=1") {
			t.Errorf("got %s, %v", asked(), err)
		}
	}
	if _, err := c.Verify(t.Context(), "x", NoCache()); err != nil || strings.Contains(asked(), "max-age=1") {
		t.Errorf("got %s, %v", asked(), err)
	}
}

func TestAUnixSocketIsAnEndpoint(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "localhost" {
			t.Errorf("the host is %q", r.Host)
		}
		_, _ = io.WriteString(w, `{"is_valid":true}`)
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	c, err := New("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if v, err := c.Verify(t.Context(), "x"); err != nil || !v.IsValid {
		t.Errorf("got %v, %v", v, err)
	}
}

func TestAnEndpointThatIsNoneIsRefusedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{
		"", "localhost:4420", "ftp://localhost", "http://", "http://h?x=1", "http://h#x", "unix://", "unix://host/s",
		"http://user:hunter2@h:port", "http://user:hunter2@h?x", "/path", "http://user:hunter2@[::1",
	} {
		if _, err := New(endpoint); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v", endpoint, err)
		}
	}
}

func TestANetworkErrorDoesNotTellThePassword(t *testing.T) {
	t.Parallel()
	c, err := New("http://user:hunter2@127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Verify(t.Context(), secret); err == nil || strings.Contains(err.Error(), "hunter2") ||
		strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}
}

func TestAnInt64IsReadFromAStringAndANumberAndWrittenAsAString(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`"9007199254740993"`, `9007199254740993`} {
		var n Int64
		if err := json.Unmarshal([]byte(text), &n); err != nil || n != 9007199254740993 {
			t.Errorf("%s: got %d, %v", text, n, err)
		}
		if b, err := json.Marshal(n); err != nil || string(b) != `"9007199254740993"` {
			t.Errorf("got %s, %v", b, err)
		}
	}
	for _, text := range []string{`"x"`, `1.5`, `true`, `""`, `"9223372036854775808"`, `{}`, `"1`, `" 1"`} {
		var n Int64
		if err := json.Unmarshal([]byte(text), &n); err == nil {
			t.Errorf("%s is read as %d", text, n)
		}
	}
}
