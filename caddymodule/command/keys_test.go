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

	"github.com/talos-edge/talos-edge/adminapi/client"
)

const (
	testKeyID  = "0e0b1a3c-5f9f-4f57-8d8c-0f3a6c3f7a55"
	testSecret = "ory_ak_v1_a_test_credential_that_is_shown_once"

	testImportedID = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
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
		seen.Store(&call{req.Method, req.URL.RequestURI(), string(body), req.Header})
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(r.status)
		_, _ = io.WriteString(w, r.body)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, seen
}

// tree is the commands as our own binary has them.
func tree() *cobra.Command {
	root := &cobra.Command{Use: "talos", SilenceUsage: true}
	root.SetFlagErrorFunc(flagError)
	for _, c := range append(commands(), top{"version", versionShort, setVersion}) {
		sub := &cobra.Command{}
		c.set(sub)
		root.AddCommand(sub)
	}
	return root
}

// runTree runs a command of the tree in this process.
func runTree(ctx context.Context, stdin string, args ...string) (stdout, stderr string, err error) {
	root := tree()
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(args)
	err = root.ExecuteContext(ctx)
	return out.String(), errs.String(), err
}

const (
	keyJSON = `{"key_id":"` + testKeyID + `","name":"ci","actor_id":"deploy-bot",` +
		`"scopes":["deploy:write","deploy:read"],` +
		`"metadata":{"team":"infra"},"visibility":"KEY_VISIBILITY_SECRET","status":"KEY_STATUS_ACTIVE",` +
		`"ip_restriction":{"allowed_cidrs":["10.0.0.0/8"]},"create_time":"2026-01-02T03:04:05Z",` +
		`"update_time":"2026-01-02T03:04:05Z","expire_time":"2026-04-02T03:04:05Z"}`
	issueJSON   = `{"issued_api_key":` + keyJSON + `,"secret":"` + testSecret + `"}`
	repeatJSON  = `{"issued_api_key":` + keyJSON + `}`
	revokedJSON = `{"key_id":"` + testKeyID + `","name":"ci\u001b[31m","actor_id":"deploy-bot",` +
		`"status":"KEY_STATUS_REVOKED",` +
		`"visibility":"KEY_VISIBILITY_PUBLIC","revocation_reason":"REVOCATION_REASON_PRIVILEGE_WITHDRAWN",` +
		`"revocation_description":"left the team"}`
	validJSON = `{"is_valid":true,"key_id":"` + testKeyID + `","actor_id":"deploy-bot","scopes":["deploy:write"],` +
		`"metadata":{"team":"infra"},"status":"KEY_STATUS_ACTIVE","issuer":"http://localhost",` +
		`"visibility":"KEY_VISIBILITY_SECRET"}`
	invalidJSON = `{"is_valid":false,"error_code":"VERIFICATION_ERROR_NOT_FOUND","error_message":"no such key"}`
	limitedJSON = `{"is_valid":false,"error_code":"VERIFICATION_ERROR_RATE_LIMITED","error_message":"too often",` +
		`"key_id":"` + testKeyID + `","status":"KEY_STATUS_ACTIVE",` +
		`"rate_limit_policy":{"quota":"100","window":"60s"},"rate_limit_remaining":"0",` +
		`"rate_limit_reset_time":"2026-01-02T03:05:05Z"}`
	limitJSON = `{"key_id":"` + testKeyID + `","name":"ci","last_used_time":"2026-03-02T03:04:05Z",` +
		`"status":"KEY_STATUS_ACTIVE","rate_limit_policy":{"quota":"100","unit":"requests","window":"3600s"}}`
	importedJSON = `{"key_id":"` + testImportedID + `","name":"old","actor_id":"a","scopes":["x"],` +
		`"status":"KEY_STATUS_ACTIVE"}`
	rotateJSON = `{"issued_api_key":` + keyJSON + `,"secret":"` + testSecret + `",` +
		`"old_issued_api_key":` + revokedJSON + `}`
	deriveJSON = `{"token":{"token":"aaa.bbb.ccc","expire_time":"2026-01-02T04:04:05Z","scopes":["x"],` +
		`"claims":{"team":"infra"}}}`
	jwkJSON   = `{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"k1","alg":"EdDSA","use":"sig"}`
	batchJSON = `{"results":[` + validJSON + `,` + invalidJSON + `]}`
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
		{"verify_limited", []string{"keys", "verify", testSecret}, limitedJSON},
		{"issued_get_limit", []string{"keys", "issued", "get", testKeyID}, limitJSON},
		{
			"issued_list", []string{"keys", "issued", "list"},
			`{"issued_api_keys":[` + keyJSON + `,` + revokedJSON + `,` + limitJSON + `],"next_page_token":"t0k"}`,
		},
		{"imported_list", []string{"keys", "imported", "list"}, `{"imported_api_keys":[` + importedJSON + `]}`},
		{"imported_list_none", []string{"keys", "imported", "list"}, `{}`},
		{"issued_update", []string{"keys", "issued", "update", testKeyID, "--name", "ci"}, keyJSON},
		{"issued_rotate", []string{"keys", "issued", "rotate", testKeyID}, rotateJSON},
		{
			"imported_import",
			[]string{"keys", "imported", "import", "old", "--actor", "a", "--raw-key", "k"},
			importedJSON,
		},
		{"imported_get", []string{"keys", "imported", "get", testImportedID}, importedJSON},
		{"imported_update", []string{"keys", "imported", "update", testImportedID, "--scopes", ""}, importedJSON},
		{"imported_revoke", []string{"keys", "imported", "revoke", testImportedID}, `{}`},
		{"imported_delete", []string{"keys", "imported", "delete", testImportedID}, `{}`},
		{"derive", []string{"keys", "derive-token", testSecret}, deriveJSON},
		{"jwk_get", []string{"jwk", "get"}, `{"keys":[` + jwkJSON + `],"jwks":{"keys":[` + jwkJSON + `]}}`},
		{"jwk_get_of_others", []string{"jwk", "get"}, `{"jwks":{"keys":[` + jwkJSON + `]}}`},
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

func TestTheServersReasonIsPrintedAndNothingElse(t *testing.T) {
	t.Parallel()
	endpoint, _ := stub(t, reply{http.StatusNotFound,
		`{"error":{"code":404,"message":"no such key \u001b[0m","status":"NOT_FOUND",` +
			`"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_NOT_FOUND",` +
			`"domain":"www.ory.com/talos"}]}}`})
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
	_, stderr, err := runTree(t.Context(), "", "keys", "issue", "ci", "--actor", "a", "-e", nobody)
	if err == nil || !strings.Contains(stderr, "talos serve") {
		t.Errorf("error %v: %s", err, stderr)
	}
}

func TestMistakesAreFoundBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("x\n", client.MaxBatch+1)
	for name, c := range map[string]struct {
		args  []string
		stdin string
		want  string // part of the error
	}{
		"unknown format":         {[]string{"keys", "verify", "x", "--format", "xml"}, "", "json-pretty"},
		"no such command":        {[]string{"keys", "veriffy", "x"}, "", "did you mean talos keys verify"},
		"no such command at all": {[]string{"keys", "issued", "explode"}, "", "unknown command"},
		"name is missing":        {[]string{"keys", "issue", "--actor", "a"}, "", "a NAME must be given"},
		"actor is missing":       {[]string{"keys", "issue", "ci"}, "", "actor"},
		"metadata is no JSON": {
			[]string{"keys", "issue", "ci", "--actor", "a", "--metadata", "{a:1}"},
			"", "--metadata",
		},
		"unknown reason": {[]string{"keys", "revoke", testKeyID, "--reason", "boredom"}, "", "key_compromise"},
		"a reason not for me": {
			[]string{"keys", "self-revoke", "x", "--reason", "privilege_withdrawn"},
			"", "key_compromise",
		},
		"text without its reason": {[]string{"keys", "revoke", testKeyID, "--reason-text", "x"}, "", "--reason-text"},
		"endpoint is no URL":      {[]string{"keys", "verify", "x", "-e", "example.com:1"}, "", "https://"},
		"nothing on stdin":        {[]string{"keys", "verify", "-"}, "\n", "no credential"},
		"two lines on stdin":      {[]string{"keys", "self-revoke", "-"}, "a\nb\n", "2 lines"},
		"stdin twice":             {[]string{"keys", "batch-verify", "-", "-"}, "a\n", "once"},
		"too many":                {[]string{"keys", "batch-verify", "-"}, many, "at most 100"},
		"too long":                {[]string{"keys", "verify", "-"}, strings.Repeat("x", 17<<10), "16 KiB"},
		"none":                    {[]string{"keys", "batch-verify", "-"}, "", "no credential"},
		"quota below zero": {
			[]string{"keys", "issue", "ci", "--actor", "a", "--rate-limit-quota", "-1"},
			"", "from 0",
		},
		"window without quota": {
			[]string{"keys", "issue", "ci", "--actor", "a", "--rate-limit-window", "1h"},
			"", "--rate-limit-quota",
		},
		"no limit, and a window": {
			[]string{
				"keys", "issued", "update", testKeyID, "--rate-limit-quota", "0", "--rate-limit-window", "1h",
			},
			"", "no window",
		},
		"metadata is no object": {
			[]string{"keys", "imported", "update", testImportedID, "--metadata", "[]"},
			"", "--metadata",
		},
		"nothing to update": {[]string{"keys", "issued", "update", testKeyID}, "", "nothing to change"},
		"a flag beside the mask": {
			[]string{"keys", "issued", "update", testKeyID, "--name", "x", "--update-mask", "scopes"},
			"", "--update-mask",
		},
		"unknown status": {
			[]string{"keys", "issued", "list", "--status", "lost"},
			"", "active, revoked, expired",
		},
		"list takes no argument": {[]string{"keys", "issued", "list", "x"}, "", "no argument"},
		"raw key is missing":     {[]string{"keys", "imported", "import", "x", "--actor", "a"}, "", "raw-key"},
		"unknown algorithm":      {[]string{"keys", "derive-token", "x", "--algorithm", "hs256"}, "", "jwt, macaroon"},
		"claims are no object":   {[]string{"keys", "derive-token", "x", "--claims", "1"}, "", "--claims"},
		"nothing to narrow":      {[]string{"keys", "attenuate", "mc_v1_x"}, "", "nothing to narrow"},
		"no macaroon":            {[]string{"keys", "attenuate", "mc_v1_x", "--scopes", "a"}, "", "not a macaroon"},
		"an expiry that is past": {
			[]string{"keys", "attenuate", "x", "--expires", "2020-01-01T00:00:00Z"},
			"", "past",
		},
		"an expiry that is none": {[]string{"keys", "attenuate", "x", "--expires", "soon"}, "", "--expires"},
		"no address range":       {[]string{"keys", "attenuate", "x", "--cidrs", "here"}, "", "--cidrs"},
		"file is missing":        {[]string{"keys", "imported", "batch-import"}, "", "file"},
		"skip below zero": {
			[]string{"keys", "imported", "batch-import", "--file", "-", "--skip", "-1"},
			"[]", "--skip",
		},
		"no key id":             {[]string{"events", "list", "--key", "ci"}, "", "--key: no key id"},
		"unknown type":          {[]string{"events", "watch", "--type", "lost"}, "", "ImportedAPIKeyCreated, Imp"},
		"since when":            {[]string{"events", "list", "--since", "lately"}, "", "--since: must be a duration"},
		"since the future":      {[]string{"events", "watch", "--since", "2999-01-01T00:00:00Z"}, "", "the future"},
		"a limit of none":       {[]string{"events", "list", "--limit", "0"}, "", "--limit: must be a number from 1"},
		"after no position":     {[]string{"events", "watch", "--after", "-1"}, "", "--after: must be a whole number"},
		"events of no argument": {[]string{"events", "watch", "x"}, "", "no argument"},

		"unknown surface":      {[]string{"serve", "everything"}, "", "everything"},
		"two surfaces":         {[]string{"serve", "admin", "public"}, "", "arg"},
		"config and a surface": {[]string{"serve", "admin", "--config", "x"}, "", "--config"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint, seen := stub(t, reply{http.StatusOK, validJSON})
			args := c.args
			if c.args[0] != "serve" && !strings.Contains(strings.Join(c.args, " "), "-e example") {
				args = append([]string{c.args[0], "-e", endpoint}, c.args[1:]...)
			}
			stdout, _, err := runTree(t.Context(), c.stdin, args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error does not have %q: %v", c.want, err)
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
		"refused at derive-token":   {[]string{"keys", "derive-token", testSecret}, ""},
		"refused at import": {
			[]string{"keys", "imported", "import", "x", "--actor", "a", "--raw-key", testSecret},
			"",
		},
		"as a key id to update":    {[]string{"keys", "issued", "update", testSecret, "--name", "x"}, ""},
		"as a key id to rotate":    {[]string{"keys", "issued", "rotate", testSecret}, ""},
		"as a key id to delete":    {[]string{"keys", "imported", "delete", testSecret}, ""},
		"as a command of imported": {[]string{"keys", "imported", testSecret}, ""},
		"to list":                  {[]string{"keys", "issued", "list", testSecret}, ""},
		"that is no macaroon":      {[]string{"keys", "attenuate", testSecret, "--scopes", "a"}, ""},
		"as the key of events":     {[]string{"events", "list", "--key", testSecret}, ""},
		"as the type of events":    {[]string{"events", "watch", "--type", testSecret}, ""},
		"as the time of events":    {[]string{"events", "list", "--since", testSecret}, ""},
		"as a position":            {[]string{"events", "watch", "--after", testSecret}, ""},
		"to watch":                 {[]string{"events", "watch", testSecret}, ""},
		"refused at self-revoke":   {[]string{"keys", "self-revoke", testSecret}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint, seen := stub(t, echo(testSecret))
			args := append([]string{c.args[0], "-e", endpoint}, c.args[1:]...)
			stdout, stderr, err := runTree(t.Context(), c.stdin, args...)
			if err == nil {
				t.Fatal("expected an error")
			}
			if strings.Contains(stdout+stderr+err.Error(), testSecret) {
				t.Errorf("the credential is repeated: %s%s%v", stdout, stderr, err)
			}
			if got := seen.Load(); got != nil && strings.Contains(got.path, testSecret) {
				t.Error("the credential is in the path of a request, and so in access logs")
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
