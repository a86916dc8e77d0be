package command

import (
	"net/http"
	"strings"
	"testing"
)

func TestListsOnTheCommandLineAreSeparatedByCommasOrSpaces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		answer string
	}{
		"issue":  {[]string{"keys", "issue", "n", "--actor", "a"}, issueJSON},
		"import": {[]string{"keys", "imported", "import", "n", "--actor", "a", "--raw-key", "k"}, importedJSON},
		"update": {[]string{"keys", "update", testKeyID}, keyJSON},
		"rotate": {[]string{"keys", "rotate", testKeyID}, rotateJSON},
		"derive": {[]string{"keys", "derive-token", "k"}, deriveJSON},
	} {
		for _, scopes := range [][]string{
			{"--scopes", "a,b:*,*"}, {"--scopes", "a b:* *"}, {"--scopes", " a, b:* ,, *"},
			{"--scopes", "a", "--scopes=b:* *"},
		} {
			endpoint, seen := stub(t, reply{http.StatusOK, c.answer})
			_, stderr, err := runTree(t.Context(), "", append(append(c.args, scopes...), "-e", endpoint)...)
			if err != nil {
				t.Errorf("%s %q: %v, %s", name, scopes, err, stderr)
			} else if got := seen.Load().body; !strings.Contains(got, `"scopes":["a","b:*","*"]`) {
				t.Errorf("%s %q: sent %s", name, scopes, got)
			}
		}
	}
	endpoint, seen := stub(t, reply{http.StatusOK, issueJSON})
	_, _, err := runTree(t.Context(), "", "keys", "issue", "n", "--actor", "a", "-e", endpoint,
		"--allowed-cidrs", "10.0.0.0/8 ::1/128")
	if err != nil || !strings.Contains(seen.Load().body, `["10.0.0.0/8","::1/128"]`) {
		t.Errorf("address ranges: %v", err)
	}
}

func TestAScopeThatCannotWorkIsExplained(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"a,orders*":             "--scopes: number 2 has * in the wrong place",
		"*:read":                "--scopes: number 1 has * in the wrong place",
		"orders:*:x":            "--scopes: number 1 has * in the wrong place",
		"a:**":                  "--scopes: number 1 has * in the wrong place",
		`a "b,c"`:               "--scopes: number 2 is no scope",
		"übersicht":             "--scopes: number 1 is no scope",
		"a " + testSecret + `"`: "--scopes: number 2 is no scope",
	} {
		for _, command := range [][]string{
			{"keys", "issue", "n", "--actor", "a"}, {"keys", "update", testKeyID}, {"keys", "derive-token", "k"},
			{"keys", "attenuate", "k"},
		} {
			_, stderr, err := runTree(t.Context(), "", append(command, "--scopes", given)...)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(stderr, testSecret) {
				t.Errorf("%v %q: %v, want %q", command, given, err, want)
			}
		}
	}
}

func TestAMistakeIsAnsweredWithTheNearestName(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"keys list --formt json":              "did you mean --format?",
		"keys list --al":                      "did you mean --all?",
		"keys issue n --actr a":               "did you mean --actor?",
		"keys imported batch-import --fil x":  "did you mean --file",
		"keys isssued list":                   "did you mean talos keys issued?",
		"keys issued lst":                     "did you mean talos keys issued list?",
		"keys imported batch-imprt":           "did you mean talos keys imported batch-import?",
		"jwk generat":                         "did you mean talos jwk generate?",
		"jwk generate eddsa --jwk":            "did you mean --jwks?",
		"migrate stats":                       "did you mean talos migrate status?",
		"migrate up --databas x":              "did you mean --database?",
		"serve --confg x":                     "did you mean --config?",
		"proxy --upstraem x":                  "did you mean --upstream?",
		"version --fromat json":               "did you mean --format?",
		"keys list --page-size many":          "--page-size: must be a whole number",
		"keys list --timeout":                 "--timeout needs a value",
		"keys list --all=perhaps":             "--all: must be true or false",
		"keys list --" + testSecret:           "unknown option; see talos keys list --help",
		"keys list --=" + testSecret:          "an option cannot be read",
		"keys list --format " + testSecret:    "--format: must be table",
		"keys list --page-size " + testSecret: "--page-size: must be a whole number",
		"keys list --status " + testSecret:    "--status: must be one of",
		"keys list -" + testSecret:            "--format: must be table",
		"migrate " + testSecret:               "unknown command; see talos migrate --help",
		"serve --" + testSecret:               "unknown option",
		"version " + testSecret:               "no argument is allowed",
	} {
		_, stderr, err := runTree(t.Context(), "", strings.Fields(given)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", given, err, want)
		}
		if strings.Contains(stderr, testSecret) || strings.Contains(stderr, testSecret[1:20]) {
			t.Errorf("%s: the credential is repeated: %s", given, stderr)
		}
	}
}

func TestShortCommandsFindOutTheKindOfAKey(t *testing.T) {
	t.Parallel()
	const issued, imported = "/v2alpha1/admin/issuedApiKeys/", "/v2alpha1/admin/importedApiKeys/"
	for given, want := range map[string]string{
		"keys list":                              "GET /v2alpha1/admin/issuedApiKeys",
		"keys get " + testKeyID:                  "GET " + issued + testKeyID,
		"keys get " + testImportedID:             "GET " + imported + testImportedID,
		"keys update --name n " + testKeyID:      "PATCH " + issued + testKeyID + "?update_mask=name",
		"keys update --name n " + testImportedID: "PATCH " + imported + testImportedID + "?update_mask=name",
		"keys rotate " + testKeyID:               "POST " + issued + testKeyID + ":rotate",
		"keys rotate " + testImportedID:          "error: cannot be rotated",
		"keys delete " + testImportedID:          "DELETE " + imported + testImportedID,
		"keys delete " + testKeyID: "error: cannot be deleted, only revoked: talos keys revoke " +
			testKeyID,
	} {
		answer := keyJSON
		switch {
		case strings.Contains(given, "list"):
			answer = `{"issued_api_keys":[]}`
		case strings.Contains(given, "rotate"):
			answer = rotateJSON
		}
		endpoint, seen := stub(t, reply{http.StatusOK, answer})
		_, _, err := runTree(t.Context(), "", append(strings.Fields(given), "-e", endpoint)...)
		if text, refused := strings.CutPrefix(want, "error: "); refused {
			if err == nil || !strings.Contains(err.Error(), text) || seen.Load() != nil {
				t.Errorf("%s: %v", given, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", given, err)
		} else if got := seen.Load(); got.method+" "+got.path != want {
			t.Errorf("%s: sent %s %s", given, got.method, got.path)
		}
	}
}
