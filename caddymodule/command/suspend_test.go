package command

import (
	"net/http"
	"strings"
	"testing"
)

const (
	suspendedJSON = `{"key_id":"` + testKeyID + `","name":"ci","actor_id":"bot","status":"KEY_STATUS_REVOKED",` +
		`"suspend_time":"2026-01-02T03:04:05Z","successor_key_id":"second","predecessor_key_id":"first"}`
	graceJSON = `{"issued_api_key":` + keyJSON + `,"secret":"` + testSecret + `","old_issued_api_key":` +
		`{"key_id":"` + testKeyID + `","status":"KEY_STATUS_ACTIVE","expire_time":"2026-01-03T03:04:05Z"}}`
)

func TestWhatTheCommandsForStatesAndLineagesSend(t *testing.T) {
	t.Parallel()
	const issued, imported = "/v2alpha1/admin/issuedApiKeys/" + testKeyID,
		"/v2alpha1/admin/importedApiKeys/" + testImportedID
	for given, want := range map[string]struct{ answer, path, body string }{
		"keys suspend " + testKeyID:                {suspendedJSON, issued + ":suspend", `{}`},
		"keys suspend " + testImportedID:           {importedJSON, imported + ":suspend", `{}`},
		"keys issued suspend " + testKeyID:         {suspendedJSON, issued + ":suspend", `{}`},
		"keys imported suspend " + testImportedID:  {importedJSON, imported + ":suspend", `{}`},
		"keys resume " + testKeyID:                 {keyJSON, issued + ":resume", `{}`},
		"keys issued resume " + testKeyID:          {keyJSON, issued + ":resume", `{}`},
		"keys imported resume " + testImportedID:   {importedJSON, imported + ":resume", `{}`},
		"keys issued rotate " + testKeyID:          {rotateJSON, issued + ":rotate", `{}`},
		"keys rotate --grace 24h " + testKeyID:     {graceJSON, issued + ":rotate", `{"grace":"24h"}`},
		"keys issued rotate --grace= " + testKeyID: {rotateJSON, issued + ":rotate", `{}`},
	} {
		endpoint, seen := stub(t, reply{http.StatusOK, want.answer})
		_, stderr, err := runTree(t.Context(), "", append(strings.Fields(given), "-e", endpoint)...)
		if err != nil {
			t.Errorf("%s: %v %s", given, err, stderr)
		} else if got := seen.Load(); got.method != "POST" || got.path != want.path || got.body != want.body {
			t.Errorf("%s: sent %+v", given, got)
		}
	}
}

// Another implementation passes over the parameter and revokes the one key.
func TestALineageThatWasNotRevokedIsAnError(t *testing.T) {
	t.Parallel()
	endpoint, seen := stub(t, reply{http.StatusOK, `{}`})
	_, _, err := runTree(t.Context(), "", "keys", "revoke", "--lineage", testKeyID, "-e", endpoint)
	if err == nil || !strings.Contains(err.Error(), "does not know lineages") {
		t.Errorf("got %v", err)
	}
	if path := seen.Load().path; path != "/v2alpha1/admin/issuedApiKeys/"+testKeyID+":revoke?lineage=true" {
		t.Errorf("sent %s", path)
	}
}

func TestASuspendedKeyIsPrintedAsOne(t *testing.T) {
	t.Parallel()
	endpoint, _ := stub(t, reply{http.StatusOK, suspendedJSON})
	const table = "KEY ID       " + testKeyID + "\nNAME         ci\nACTOR        bot\nSTATUS       suspended\n" +
		"EXPIRES      never\nSUSPENDED    2026-01-02T03:04:05Z\nPREDECESSOR  first\nSUCCESSOR    second\n"
	for given, want := range map[string]string{
		"keys suspend":        table,
		"keys get":            table,
		"keys get -q":         "suspended\n",
		"keys suspend -q":     "",
		"keys resume -q":      "",
		"keys suspend -ojson": suspendedJSON + "\n",
	} {
		stdout, _, err := runTree(t.Context(), "", append(strings.Fields(given), testKeyID, "-e", endpoint)...)
		if err != nil || stdout != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", given, err, stdout, want)
		}
	}
	list, _ := stub(t, reply{http.StatusOK, `{"issued_api_keys":[` + suspendedJSON + `]}`})
	stdout, _, err := runTree(t.Context(), "", "keys", "list", "-e", list)
	if err != nil || !strings.Contains(stdout, "  suspended  ") {
		t.Errorf("list: %v\n%s", err, stdout)
	}
}

func TestARotationSaysWhatBecomesOfTheOldKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, answer, want string }{
		{"", rotateJSON, "The secret is shown this once. Keep it now. The old key is revoked: " + testKeyID + "\n"},
		{"-q", rotateJSON, ""},
		{"--grace 24h", graceJSON, "The secret is shown this once. Keep it now. " +
			"The old key expires 2026-01-03T03:04:05Z: " + testKeyID + "\n"},
		{"--grace 24h -q", graceJSON, ""},
		{"--grace 24h -q", rotateJSON, "The secret is shown this once. Keep it now. " +
			"This server has no grace periods: the old key is revoked already: " + testKeyID + "\n"},
	} {
		endpoint, _ := stub(t, reply{http.StatusOK, tt.answer})
		_, stderr, err := runTree(t.Context(), "",
			append(strings.Fields("keys rotate "+tt.args), testKeyID, "-e", endpoint)...)
		if err != nil || stderr != tt.want {
			t.Errorf("%q: %v, %q, want %q", tt.args, err, stderr, tt.want)
		}
	}
	endpoint, seen := stub(t, reply{http.StatusOK, graceJSON})
	_, stderr, err := runTree(t.Context(), "", "keys", "rotate", testKeyID, "--grace", "tomorrow", "-e", endpoint)
	if err == nil || seen.Load() != nil || !strings.Contains(stderr, "--grace: must be a duration such as") {
		t.Errorf("a grace period that is none: %v, %s", err, stderr)
	}
}

func TestResumeCompletesSuspendedKeysOnly(t *testing.T) {
	t.Parallel()
	endpoint, seen := stub(t, reply{http.StatusOK, `{"issued_api_keys":[` + suspendedJSON + `,` +
		strings.Replace(revokedJSON, testKeyID, testImportedID, 1) + `]}`})
	got := complete(t, "keys", "issued", "resume", "-e", endpoint, "")
	if len(got) != 1 || !strings.HasPrefix(got[0], testKeyID) ||
		!strings.Contains(seen.Load().path, "KEY_STATUS_REVOKED") {
		t.Errorf("completed %q of %s", got, seen.Load().path)
	}
}

func TestKeysOfARunningServerAreSuspendedAndRotatedWithGrace(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	s := serveBinary(t, env)
	secret, keyID := s.issue(t)
	do := func(args ...string) string {
		t.Helper()
		out, exit := s.talos(t, append([]string{"keys"}, args...)...)
		if exit != 0 {
			t.Fatalf("%v: exit status %d, %s", args, exit, out)
		}
		return out
	}
	s.wantVerdict(t, secret, true)
	do("suspend", keyID)
	s.wantVerdict(t, secret, false)
	if out, exit := s.talos(t, "keys", "rotate", keyID, "--grace", "1h"); exit != 1 {
		t.Errorf("a suspended key is rotated: %s", out)
	}
	do("resume", keyID)
	s.wantVerdict(t, secret, true)
	next := strings.TrimSpace(do("issued", "rotate", keyID, "--grace", "1h", "-q"))
	s.wantVerdict(t, secret, true)
	s.wantVerdict(t, next, true)
	if out := do("get", keyID); !strings.Contains(out, "SUCCESSOR") {
		t.Errorf("the old key has no successor:\n%s", out)
	}
	if out := do("revoke", keyID, "--lineage"); out != "revoked "+keyID+", its predecessors and its successors\n" {
		t.Errorf("revoke prints %q", out)
	}
	s.wantVerdict(t, secret, false)
	s.wantVerdict(t, next, false)
	out, _ := s.talos(t, "events", "list", "-o", "json", "--key", keyID)
	types, _ := eventTypesOf(t, out)
	const want = "IssuedAPIKeyCreated APIKeySuspended APIKeyResumed IssuedAPIKeyRotated IssuedAPIKeyRevoked"
	if got := strings.Join(types, " "); got != want {
		t.Errorf("the events are %s, want %s", got, want)
	}
}
