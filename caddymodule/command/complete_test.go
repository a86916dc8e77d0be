package command

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	issuedPage = `{"issued_api_keys":[{"key_id":"` + testKeyID + `","name":"ci","actor_id":"bot\u001b[2J"},` +
		`{"key_id":"$(touch /tmp/x)","name":"no key id"}]}`
	importedPage = `{"imported_api_keys":[{"key_id":"` + testImportedID + `","name":"old","actor_id":"a"}]}`
)

// complete asks for completions as the script of a shell does.
func complete(t *testing.T, args ...string) []string {
	t.Helper()
	stdout, _, err := runTree(t.Context(), "", append([]string{"__complete"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	return lines[:len(lines)-1] // the last one is for the shell
}

func TestKeyIDsAreCompletedAndNothingElseThatAServerSends(t *testing.T) {
	t.Parallel()
	endpoint, seen := stub(t, reply{http.StatusOK, issuedPage})
	got := complete(t, "keys", "issued", "get", "-e", endpoint, "")
	if len(got) != 1 || got[0] != testKeyID+"\tci, bot\\u001b[2J" {
		t.Errorf("completed %q", got)
	}
	if path := seen.Load().path; !strings.Contains(path, "page_size=1000") ||
		!strings.Contains(path, "filter=status%3DKEY_STATUS_ACTIVE") {
		t.Errorf("asked for %s", path)
	}
	if got := complete(t, "keys", "rotate", "-e", endpoint, "ff"); len(got) != 0 {
		t.Errorf("what begins otherwise is completed with %q", got)
	}
	if got := complete(t, "keys", "rotate", "-e", endpoint, testKeyID, ""); len(got) != 0 {
		t.Errorf("a second argument is completed with %q", got)
	}
	imported, _ := stub(t, reply{http.StatusOK, importedPage})
	if got := complete(t, "keys", "delete", "-e", imported, ""); len(got) != 1 {
		t.Errorf("completed %q", got)
	}
}

func TestCompletionIsSilentWhereTheServerCannotSay(t *testing.T) {
	t.Parallel()
	refusing, _ := stub(t, reply{http.StatusForbidden, `{}`})
	for _, endpoint := range []string{nobody, refusing, "nonsense:1"} {
		stdout, stderr, err := runTree(t.Context(), "", "__complete", "keys", "get", "-e", endpoint, "")
		if err != nil || strings.HasPrefix(stdout, "0") || strings.Contains(stderr, "rror") {
			t.Errorf("%s: %v, %q, %q", endpoint, err, stdout, stderr)
		}
	}
}

func TestValuesOfOptionsAreCompleted(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"keys list --format ":                        "table json json-pretty yaml",
		"keys list -o ":                              "table json json-pretty yaml",
		"keys list --status ":                        "active revoked expired",
		"keys revoke --reason ":                      strings.Join(operatorReasons, " "),
		"keys self-revoke --reason ":                 strings.Join(holderReasons, " "),
		"keys derive-token --algorithm ":             "jwt macaroon",
		"keys imported batch-import --input-format ": "json jsonl csv",
		"jwk generate --curve ":                      "P-256 P-384 P-521",
		"jwk generate --use ":                        "sig enc",
		"jwk generate ":                              "eddsa rsa ecdsa hmac",
		"serve ":                                     "admin public",
		"keys verify ":                               "",
	} {
		if got := strings.Join(complete(t, strings.Split(given, " ")...), " "); got != want {
			t.Errorf("%q is completed with %q, want %q", given, got, want)
		}
	}
}

// The script that the binary writes works in a real bash. What bash-completion, a package that not every machine has,
// does for it at the beginning is done here.
func TestBashCompletesWithTheScriptOfTheBinary(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("there is no bash")
	}
	endpoint, _ := stub(t, reply{http.StatusOK, issuedPage})
	cmd := exec.Command("bash", "-c", `
source <(talos completion bash)
_init_completion() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${words[cword]}; prev=${words[cword-1]}; }
show() {
	COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
	__start_talos 2>/dev/null
	echo "$COMP_LINE: ${COMPREPLY[*]}"
}
show talos keys issued get ''
show talos keys revoke --reason ''
show talos keys list --format js
show talos keys rot
show talos migrate ''
`)
	cmd.Env = []string{
		"PATH=" + filepath.Dir(binary(t)) + ":" + os.Getenv("PATH"), "TALOS_URL=" + endpoint, "HOME=" + t.TempDir(),
	}
	out, err := cmd.CombinedOutput()
	want := "talos keys issued get : " + testKeyID + "\n" +
		"talos keys revoke --reason : " + strings.Join(operatorReasons, " ") + "\n" +
		"talos keys list --format js: json json-pretty\n" +
		"talos keys rot: rotate\n" +
		"talos migrate : down status up\n"
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
	for _, shell := range []string{"zsh", "fish", "powershell"} {
		script, exit := runBinary(t, cmd.Env, "completion", shell)
		if exit != 0 || !strings.Contains(script, "__complete") {
			t.Errorf("%s: exit status %d", shell, exit)
		}
	}
}
