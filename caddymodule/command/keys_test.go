package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"
)

const (
	testKeyID  = "0e0b1a3c-5f9f-4f57-8d8c-0f3a6c3f7a55"
	testSecret = "ory_ak_v1_a_test_credential_that_is_shown_once"
)

// call is what a stub server saw, and reply what it answers.
type (
	call struct {
		method, path, body string
		header             http.Header
	}
	reply struct {
		status int
		body   string
	}
)

// stub is a server with one answer.
func stub(t *testing.T, r reply) (endpoint string, seen *atomic.Pointer[call]) {
	t.Helper()
	seen = new(atomic.Pointer[call])
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		seen.Store(&call{req.Method, req.URL.EscapedPath(), string(body), req.Header})
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(r.status)
		_, _ = io.WriteString(w, r.body)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, seen
}

// run runs a command of the tree in this process.
func runTree(ctx context.Context, stdin string, args ...string) (stdout, stderr string, err error) {
	root := &cobra.Command{Use: "talos", SilenceUsage: true}
	keys, serve := &cobra.Command{}, &cobra.Command{}
	setKeys(keys)
	setServe(serve)
	root.AddCommand(keys, serve)
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(args)
	err = root.ExecuteContext(ctx)
	return out.String(), errs.String(), err
}

const (
	keyJSON = `{"key_id":"` + testKeyID + `","name":"ci","actor_id":"deploy-bot","scopes":["deploy:write","deploy:read"],` +
		`"metadata":{"team":"infra"},"visibility":"KEY_VISIBILITY_SECRET","status":"KEY_STATUS_ACTIVE",` +
		`"ip_restriction":{"allowed_cidrs":["10.0.0.0/8"]},"create_time":"2026-01-02T03:04:05Z",` +
		`"update_time":"2026-01-02T03:04:05Z","expire_time":"2026-04-02T03:04:05Z"}`
	issueJSON   = `{"issued_api_key":` + keyJSON + `,"secret":"` + testSecret + `"}`
	repeatJSON  = `{"issued_api_key":` + keyJSON + `}`
	revokedJSON = `{"key_id":"` + testKeyID + `","name":"ci\u001b[31m","actor_id":"deploy-bot","status":"KEY_STATUS_REVOKED",` +
		`"visibility":"KEY_VISIBILITY_PUBLIC","revocation_reason":"REVOCATION_REASON_PRIVILEGE_WITHDRAWN",` +
		`"revocation_description":"left the team"}`
	validJSON = `{"is_valid":true,"key_id":"` + testKeyID + `","actor_id":"deploy-bot","scopes":["deploy:write"],` +
		`"metadata":{"team":"infra"},"status":"KEY_STATUS_ACTIVE","issuer":"http://localhost",` +
		`"visibility":"KEY_VISIBILITY_SECRET"}`
	invalidJSON = `{"is_valid":false,"error_code":"VERIFICATION_ERROR_NOT_FOUND","error_message":"no such key"}`
	batchJSON   = `{"results":[` + validJSON + `,` + invalidJSON + `]}`
)

func TestWhatEachCommandPrintsInEachFormat(t *testing.T) {
	t.Parallel()
	commands := []struct {
		name  string
		args  []string
		reply string
	}{
		{"issue", []string{"keys", "issue", "ci", "--actor", "deploy-bot"}, issueJSON},
		{"issue_repeat", []string{"keys", "issue", "ci", "--actor", "deploy-bot", "--request-id", "r1"}, repeatJSON},
		{"issued_issue", []string{"keys", "issued", "issue", "ci", "--actor", "deploy-bot"}, issueJSON},
		{"issued_get", []string{"keys", "issued", "get", testKeyID}, keyJSON},
		{"issued_get_revoked", []string{"keys", "issued", "get", testKeyID}, revokedJSON},
		{"verify", []string{"keys", "verify", testSecret}, validJSON},
		{"verify_invalid", []string{"keys", "verify", testSecret}, invalidJSON},
		{"batch_verify", []string{"keys", "batch-verify", testSecret, "other"}, batchJSON},
		{"revoke", []string{"keys", "revoke", testKeyID}, `{}`},
		{"self_revoke", []string{"keys", "self-revoke", testSecret}, `{}`},
	}
	for _, c := range commands {
		for variant, flags := range map[string][]string{
			"table": nil,
			"quiet": {"-q"},
			"json":  {"--format", "json"}, "json-pretty": {"--format", "json-pretty"}, "yaml": {"--format=yaml"},
			"quiet_json": {"-q", "--format", "json"},
		} {
			t.Run(c.name+"/"+variant, func(t *testing.T) {
				t.Parallel()
				endpoint, _ := stub(t, reply{http.StatusOK, c.reply})
				args := append([]string{"-e", endpoint}, flags...)
				stdout, stderr, err := runTree(t.Context(), "", append(c.args, args...)...)
				text := "standard output:\n" + stdout + "standard error:\n" + stderr
				if err != nil {
					text += "failed: " + err.Error() + "\n"
				}
				golden(t, filepath.Join("keys", c.name+"."+variant), text)
				if strings.Contains(variant, "json") && variant != "json-pretty" && stdout != c.reply+"\n" {
					t.Errorf("standard output is not the server's answer and nothing else: %q", stdout)
				}
			})
		}
	}
}

func TestWhatEachCommandSends(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args               []string
		stdin, answer      string
		method, path, body string
		noCache            bool
	}{
		"issue": {
			args: []string{
				"keys", "issue", "ci", "--actor", "bot", "--scopes", "a,b", "--scopes", "c", "--ttl", "1y6mo",
				"--metadata", `{"a": 1}`, "--allowed-cidrs", "10.0.0.0/8,::1/128", "--public", "--request-id", "r1",
			},
			answer: issueJSON, method: "POST", path: "/v2alpha1/admin/issuedApiKeys",
			body: `{"name":"ci","actor_id":"bot","scopes":["a","b","c"],"ttl":"1y6mo","metadata":{"a":1},` +
				`"visibility":"KEY_VISIBILITY_PUBLIC","ip_restriction":{"allowed_cidrs":["10.0.0.0/8","::1/128"]},"request_id":"r1"}`,
		},
		"issue, the least": {
			args:   []string{"keys", "issued", "issue", "ci", "--actor", "bot"},
			answer: issueJSON, method: "POST", path: "/v2alpha1/admin/issuedApiKeys", body: `{"name":"ci","actor_id":"bot"}`,
		},
		"get": {
			args:   []string{"keys", "issued", "get", testKeyID},
			answer: keyJSON, method: "GET", path: "/v2alpha1/admin/issuedApiKeys/" + testKeyID,
		},
		"revoke": {
			args:   []string{"keys", "revoke", testKeyID, "--reason", "privilege_withdrawn", "--reason-text", "left"},
			answer: `{}`, method: "POST", path: "/v2alpha1/admin/apiKeys/" + testKeyID + ":revoke",
			body: `{"reason":"REVOCATION_REASON_PRIVILEGE_WITHDRAWN","description":"left"}`,
		},
		"revoke issued": {
			args:   []string{"keys", "issued", "revoke", testKeyID, "--reason", "REVOCATION_REASON_KEY_COMPROMISE"},
			answer: `{}`, method: "POST", path: "/v2alpha1/admin/issuedApiKeys/" + testKeyID + ":revoke",
			body: `{"reason":"REVOCATION_REASON_KEY_COMPROMISE"}`,
		},
		"verify": {
			args:   []string{"keys", "verify", "-", "--no-cache"},
			stdin:  testSecret + "\r\n",
			answer: validJSON, method: "POST", path: "/v2alpha1/admin/apiKeys:verify",
			body: `{"credential":"` + testSecret + `"}`, noCache: true,
		},
		"batch-verify": {
			args:   []string{"keys", "batch-verify", "-", "last"},
			stdin:  "with space \n\n" + testSecret,
			answer: `{"results":[` + validJSON + `,` + validJSON + `,` + validJSON + `]}`,
			method: "POST", path: "/v2alpha1/admin/apiKeys:batchVerify",
			body: `{"requests":[{"credential":"with space "},{"credential":"` + testSecret + `"},{"credential":"last"}]}`,
		},
		"self-revoke": {
			args:   []string{"keys", "self-revoke", "--", "-starts-with-a-dash"},
			answer: `{}`, method: "POST", path: "/v2alpha1/apiKeys:selfRevoke", body: `{"credential":"-starts-with-a-dash"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint, seen := stub(t, reply{http.StatusOK, c.answer})
			if _, stderr, err := runTree(t.Context(), c.stdin, append([]string{"keys", "-e", endpoint}, c.args[1:]...)...); err != nil {
				t.Fatal(err, stderr)
			}
			got := seen.Load()
			if got.method != c.method || got.path != c.path || got.body != c.body {
				t.Errorf("sent %s %s %s\nwant %s %s %s", got.method, got.path, got.body, c.method, c.path, c.body)
			}
			if (got.header.Get("Cache-Control") == "no-cache") != c.noCache {
				t.Errorf("Cache-Control: %q", got.header.Get("Cache-Control"))
			}
		})
	}
}

func TestTheServersReasonIsPrintedAndNothingElse(t *testing.T) {
	t.Parallel()
	endpoint, _ := stub(t, reply{http.StatusNotFound, `{"error":{"code":404,"message":"no such key \u001b[0m","status":"NOT_FOUND",` +
		`"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_NOT_FOUND","domain":"www.ory.com/talos"}]}}`})
	stdout, stderr, err := runTree(t.Context(), "", "keys", "revoke", testKeyID, "-e", endpoint, "--format", "json")
	if err == nil || stdout != "" {
		t.Errorf("error %v, standard output %q", err, stdout)
	}
	if want := "Error: no such key \\u001b[0m (API_KEY_NOT_FOUND, HTTP 404)\n"; stderr != want {
		t.Errorf("standard error %q, want %q", stderr, want)
	}
}

func TestNoServerIsAnErrorThatSaysHowToStartOne(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	ln.close()
	_, stderr, err := runTree(t.Context(), "", "keys", "issue", "ci", "--actor", "a", "-e", "http://"+ln.Addr().String())
	if err == nil || !strings.Contains(stderr, "talos serve") {
		t.Errorf("error %v: %s", err, stderr)
	}
}

func TestMistakesAreFoundBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("x\n", maxBatch+1)
	for name, c := range map[string]struct {
		args  []string
		stdin string
		want  string // part of the error
	}{
		"unknown format":          {[]string{"keys", "verify", "x", "--format", "xml"}, "", "json-pretty"},
		"no such command":         {[]string{"keys", "veriffy", "x"}, "", "did you mean talos keys verify"},
		"no such command at all":  {[]string{"keys", "issued", "explode"}, "", "unknown command"},
		"name is missing":         {[]string{"keys", "issue", "--actor", "a"}, "", "want a NAME"},
		"actor is missing":        {[]string{"keys", "issue", "ci"}, "", "actor"},
		"metadata is no JSON":     {[]string{"keys", "issue", "ci", "--actor", "a", "--metadata", "{a:1}"}, "", "--metadata"},
		"unknown reason":          {[]string{"keys", "revoke", testKeyID, "--reason", "boredom"}, "", "key_compromise"},
		"a reason not for me":     {[]string{"keys", "self-revoke", "x", "--reason", "privilege_withdrawn"}, "", "key_compromise"},
		"text without its reason": {[]string{"keys", "revoke", testKeyID, "--reason-text", "x"}, "", "--reason-text"},
		"endpoint is no URL":      {[]string{"keys", "verify", "x", "-e", "localhost:1"}, "", "endpoint"},
		"nothing on stdin":        {[]string{"keys", "verify", "-"}, "\n", "no credential"},
		"two lines on stdin":      {[]string{"keys", "self-revoke", "-"}, "a\nb\n", "2 lines"},
		"stdin twice":             {[]string{"keys", "batch-verify", "-", "-"}, "a\n", "once"},
		"too many":                {[]string{"keys", "batch-verify", "-"}, many, "at most 100"},
		"too long":                {[]string{"keys", "verify", "-"}, strings.Repeat("x", 17<<10), "16 KiB"},
		"none":                    {[]string{"keys", "batch-verify", "-"}, "", "no credential"},
		"rate limits are absent":  {[]string{"keys", "issue", "ci", "--actor", "a", "--rate-limit-quota", "1"}, "", "unknown flag"},
		"unknown surface":         {[]string{"serve", "everything"}, "", "everything"},
		"two surfaces":            {[]string{"serve", "admin", "public"}, "", "arg"},
		"config and a surface":    {[]string{"serve", "admin", "--config", "x"}, "", "--config"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint, seen := stub(t, reply{http.StatusOK, validJSON})
			args := c.args
			if c.args[0] == "keys" && !strings.Contains(strings.Join(c.args, " "), "-e localhost") {
				args = append([]string{"keys", "-e", endpoint}, c.args[1:]...)
			}
			stdout, _, err := runTree(t.Context(), c.stdin, args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
			if stdout != "" || seen.Load() != nil {
				t.Errorf("standard output %q, sent %v", stdout, seen.Load())
			}
		})
	}
}

func TestNoErrorRepeatsACredential(t *testing.T) {
	t.Parallel()
	echo := func(cred string) reply { // a server that repeats what it was sent
		message, err := json.Marshal("bad credential " + cred)
		if err != nil {
			t.Fatal(err)
		}
		return reply{http.StatusBadRequest, `{"error":{"code":400,"message":` + string(message) + `}}`}
	}
	for name, c := range map[string]struct {
		args  []string
		stdin string
	}{
		"as a command":              {[]string{"keys", testSecret}, ""},
		"as a command of issued":    {[]string{"keys", "issued", testSecret}, ""},
		"as a key id to revoke":     {[]string{"keys", "revoke", testSecret}, ""},
		"as a key id to get":        {[]string{"keys", "issued", "get", testSecret}, ""},
		"with an argument too many": {[]string{"keys", "verify", testSecret, testSecret}, ""},
		"like a flag":               {[]string{"keys", "verify", "-" + testSecret}, ""},
		"two of them on stdin":      {[]string{"keys", "verify", "-"}, testSecret + "\n" + testSecret},
		"refused by the server":     {[]string{"keys", "verify", testSecret}, ""},
		"refused by it in a batch":  {[]string{"keys", "batch-verify", testSecret, "b"}, ""},
		"refused at self-revoke":    {[]string{"keys", "self-revoke", testSecret}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint, seen := stub(t, echo(testSecret))
			stdout, stderr, err := runTree(t.Context(), c.stdin, append([]string{"keys", "-e", endpoint}, c.args[1:]...)...)
			if err == nil {
				t.Fatal("want an error")
			}
			if strings.Contains(stdout+stderr+err.Error(), testSecret) {
				t.Errorf("the credential is repeated: %s%s%v", stdout, stderr, err)
			}
			if got := seen.Load(); got != nil && strings.Contains(got.path, testSecret) {
				t.Error("the credential stands in the path of a request, and so in access logs")
			}
		})
	}
}

func TestACancelledCallEndsAtOnce(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	}))
	defer srv.Close()
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, _, err := runTree(ctx, "", "keys", "verify", "x", "-e", srv.URL)
		done <- err
	}()
	<-arrived
	cancel()
	if err := <-done; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestTheEndpointComesFromTheFlagOrTheEnvironment(t *testing.T) {
	endpoint, seen := stub(t, reply{http.StatusOK, validJSON})
	t.Setenv("TALOS_URL", endpoint)
	if _, stderr, err := runTree(t.Context(), "", "keys", "verify", "x"); err != nil || seen.Load() == nil {
		t.Error(err, stderr)
	}
	other, seenByOther := stub(t, reply{http.StatusOK, validJSON})
	seen.Store(nil)
	if _, stderr, err := runTree(t.Context(), "", "keys", "verify", "x", "-e", other); err != nil ||
		seen.Load() != nil || seenByOther.Load() == nil {
		t.Error("the flag does not come before the environment", err, stderr)
	}
}
