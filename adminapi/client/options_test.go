package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// answering makes a client of a server that answers every call alike.
func answering(t *testing.T, h http.HandlerFunc, opts ...client.Option) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(s.URL, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestATokenIsSentWithEachCall(t *testing.T) {
	t.Parallel()
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer token" {
			t.Errorf("got %q", got)
		}
		_, _ = io.WriteString(w, `{}`)
	}, client.WithHeader("Authorization", "Basic x"), client.WithToken("token"))
	for range 2 {
		if err := c.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// counting counts the requests that pass.
type counting struct{ n int }

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n++
	return http.DefaultTransport.RoundTrip(r)
}

func TestACallThroughACallersHTTPClientDoesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	through := &counting{}
	given := &http.Client{Transport: through, CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}, client.WithHTTPClient(given))
	_, err := c.Verify(t.Context(), "credential")
	if e, ok := errors.AsType[*client.Error](err); !ok || e.HTTP != http.StatusTemporaryRedirect {
		t.Errorf("got %v", err)
	}
	if through.n != 1 {
		t.Errorf("%d requests", through.n)
	}
	if given.CheckRedirect(nil, nil) != nil {
		t.Error("the caller's client was changed")
	}
}

// An answer of JSON that lacks what each answer of a call has is another server's.
func TestAnAnswerOfAnotherAPIIsAnError(t *testing.T) {
	t.Parallel()
	c := answering(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"ok":true}`) })
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"issue": func() error {
			_, err := c.Issue(ctx, client.IssueRequest{Name: "n", ActorID: "a", RequestID: "r"})
			return err
		},
		"import": func() error { _, err := c.Import(ctx, client.ImportRequest{RawKey: "r"}); return err },
		"get":    func() error { _, err := c.Get(ctx, client.GetRequest{KeyID: "k"}); return err },
		"update": func() error { _, err := c.Update(ctx, client.UpdateRequest{KeyID: "k"}); return err },
		"rotate": func() error { _, err := c.Rotate(ctx, client.RotateRequest{KeyID: "k"}); return err },
		"derive": func() error { _, err := c.Derive(ctx, client.DeriveRequest{Credential: "c"}); return err },
		"verify": func() error { _, err := c.Verify(ctx, "c"); return err },
		"batch":  func() error { _, err := c.BatchVerify(ctx, []string{"c"}); return err },
	} {
		if err := call(); !errors.Is(err, client.ErrAnswer) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
