package command

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestServeWithoutConfigurationKeepsItsState(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	s := serveBinary(t, env)
	if line := s.log(); !strings.Contains(line, s.endpoint) || !strings.Contains(line, filepath.Join(dir, "data")) {
		t.Errorf("it does not say where it listens and where the keys are:\n%s", line)
	}
	secret, keyID := s.issue(t, "--scopes", "a,b")
	other, _ := s.issue(t)
	s.wantVerdict(t, secret, true)
	s.wantVerdict(t, "ory_ak_v1_forged_forged", false)
	out, exit := s.talos(t, "keys", "revoke", keyID, "--reason", "superseded")
	if exit != 0 || out != "revoked "+keyID+"\n" {
		t.Errorf("revoke: exit status %d, %q", exit, out)
	}
	s.wantVerdict(t, secret, false)
	if _, exit := s.talos(t, "keys", "revoke", keyID); exit != 1 {
		t.Errorf("a second revocation: exit status %d, want 1", exit)
	}
	out, exit = s.talos(t, "keys", "batch-verify", "-q", secret, other, "x")
	if exit != 0 || out != "false\ntrue\nfalse\n" {
		t.Errorf("batch-verify: exit status %d, %q", exit, out)
	}
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}

	again := serveBinary(t, env)
	again.wantVerdict(t, secret, false)
	again.wantVerdict(t, other, true)
	if out, exit := again.talos(t, "keys", "issued", "get", keyID, "-q"); exit != 0 || out != "revoked\n" {
		t.Errorf("get: exit status %d, %q", exit, out)
	}
	if out, exit := again.talos(t, "keys", "self-revoke", other); exit != 0 || out != "revoked\n" {
		t.Errorf("self-revoke on the listener of both surfaces: exit status %d, %q", exit, out)
	}
	again.wantVerdict(t, other, false)
	if err := again.stop(t, syscall.SIGINT); err != nil {
		t.Errorf("SIGINT: %v", err)
	}
	for _, log := range []string{s.log(), again.log()} {
		if strings.Contains(log, secret) || strings.Contains(log, other) {
			t.Error("a credential is in the log")
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "config"))
	if err == nil && len(entries) > 0 {
		t.Errorf("the configuration was saved: %v", entries)
	}
}

func TestServeAdminAndServePublicShareADatabase(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	admin, public := serveBinary(t, env, "admin"), serveBinary(t, env, "public")
	secret, _ := admin.issue(t)
	admin.wantVerdict(t, secret, true) // now it is cached
	if _, exit := public.talos(t, "keys", "self-revoke", secret); exit != 0 {
		t.Fatalf("self-revoke: exit status %d", exit)
	}
	admin.wantVerdict(t, secret, false)

	for _, c := range []struct {
		s            *server
		method, path string
		status       int
	}{
		{public, http.MethodPost, "/v2alpha1/admin/apiKeys:verify", 404},
		{public, http.MethodPost, "/V2alpha1//%61dmin/issuedApiKeys", 404},
		{public, http.MethodGet, "/", 404},
		{public, http.MethodGet, "/config/", 404},
		{public, http.MethodGet, "/health/ready", 200},
		{public, http.MethodGet, "/v2alpha1/derivedKeys/jwks.json", 200},
		{admin, http.MethodGet, "/health/ready", 200},
		{admin, http.MethodGet, "/v2alpha1/derivedKeys/jwks.json", 200},
		{admin, http.MethodGet, "/elsewhere", 404},
	} {
		status, body := fetch(t, c.method, c.s.endpoint+c.path)
		if status != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, status, c.status)
		}
		var answer struct {
			Error struct {
				Code    int    `json:"code"`
				Status  string `json:"status"`
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Errorf("%s %s: %q is no JSON", c.method, c.path, body)
		} else if e := answer.Error; status == 404 && (e.Code != 404 || e.Status != "NOT_FOUND" || e.Message == "") {
			t.Errorf("%s %s: %s is not the API's envelope", c.method, c.path, body)
		}
	}
}

func fetch(t *testing.T, method, url string) (status int, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

func TestASecondServerOnTheSamePortIsRefused(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	s := serveBinary(t, env)
	port := s.endpoint[strings.LastIndexByte(s.endpoint, ':')+1:]
	_, err := tryCommand(t, append(env, envPort+"="+port), "serve", "public")
	if err == nil || !strings.Contains(err.Error(), envPort) {
		t.Errorf("two servers share a port: %v", err)
	}
}

func TestKeysOfARetiredSecretStillVerify(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	s := serveBinary(t, append(env, envCurrent+"="+secretA))
	secret, _ := s.issue(t)
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	s = serveBinary(t, append(env, envCurrent+"="+secretB, envRetired+"="+secretC+","+secretA))
	s.wantVerdict(t, secret, true)
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	other := append(env, envCurrent+"="+secretC, envPort+"=4420", envHost+"=127.0.0.9")
	if _, err := tryCommand(t, other, "serve"); err == nil {
		t.Error("it serves with a secret that no key was made with")
	}
	for _, secret := range []string{secretA, secretB, secretC} {
		if strings.Contains(s.log(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

func TestServeUsesTheDatabaseThatTheEnvironmentNames(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	file := filepath.Join(dir, "elsewhere.db")
	s := serveBinary(t, append(env, envDSN+"=sqlite://"+file, envPrefix+"=acme", envMaxTTL+"=1h"))
	secret, _ := s.issue(t)
	if !strings.HasPrefix(secret, "acme_v1_") {
		t.Error("the key does not begin with the prefix")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if _, exit := s.talos(t, "keys", "issue", "x", "--actor", "a", "--ttl", "2h"); exit != 1 {
		t.Errorf("a key that is valid for longer than allowed: exit status %d", exit)
	}
}

func TestEveryConfigurationThatServeWritesIsValid(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/serve/*.caddyfile")
	if err != nil || len(files) == 0 {
		t.Fatal(err, "no golden files")
	}
	for _, file := range files {
		dir, env := home(t, envDSN+"=sqlite:///nonexistent/talos.db", envCurrent+"="+secretA,
			envRetired+"="+secretB, envRetired+"_1="+secretB, envRetired+"_2="+secretC)
		if _, exit := runBinary(t, env, "validate", "--config", file); exit != 0 {
			t.Errorf("%s: exit status %d", file, exit)
		}
		if _, err := os.Stat(filepath.Join(dir, "data", "caddy", "talos.db")); err == nil {
			t.Errorf("%s: validating made a database", file)
		}
	}
}

func TestServeWithAConfigurationFileIsCaddysRun(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	out, exit := runBinary(t, append(env, envPort+"=4499"), "serve", "--print-config")
	if exit != 0 || !strings.Contains(out, "http://:4499 {") {
		t.Fatalf("--print-config: exit status %d\n%s", exit, out)
	}
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte("{\n\tadmin off\n\ttalos {\n\t\tnonsense\n\t}\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := tryCommand(t, env, "serve", "--config", file)
	if err == nil || !strings.Contains(err.Error(), "Caddyfile:4") || strings.Contains(err.Error(), "Error: ") {
		t.Errorf("expected run's own error about line 4, once; got %v", err)
	}
}

func TestTheBinaryHasTheCommandsAtTheTopAndCaddysBeside(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	help, _ := runBinary(t, env, "--help")
	for _, want := range []string{"\n  serve ", "\n  keys ", "\n  run ", "\n  adapt ", "Talos Edge"} {
		if !strings.Contains(help, want) {
			t.Errorf("--help lacks %q", want)
		}
	}
	if strings.Contains(help, "Serves and manages API keys") {
		t.Error("--help shows the commands a second time")
	}
	if out, exit := runBinary(t, env, "talos", "keys", "--help"); exit != 0 || !strings.Contains(out, "self-revoke") {
		t.Errorf("talos talos keys: exit status %d", exit)
	}
	script, exit := runBinary(t, env, "completion", "bash")
	if exit != 0 || !strings.Contains(script, "talos_keys_batch-verify") || !strings.Contains(script, "talos_serve") {
		t.Errorf("the completion script does not know the commands: exit status %d", exit)
	}
	if _, exit := runBinary(t, env, "keys", "explode"); exit != 1 {
		t.Errorf("a command that does not exist: exit status %d", exit)
	}
}

func TestAnInterruptEndsAClientCommandAtOnce(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()),
		binary(t), "keys", "verify", "x", "-e", "http://"+ln.Addr().String(),
	)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept() // the call is under way, and is never answered
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("expected another exit status than 0")
	}
}

// The commands as a script uses them: every one must succeed, and what is read from an answer is never empty.
func TestAShellScriptCanUseTheCommands(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	s := serveBinary(t, env)
	script := `set -euo pipefail
SECRET=$(talos keys issue ci --actor bot --ttl 90d --quiet)
talos keys verify - <<<"$SECRET" >/dev/null
printf '%s\nforged\n' "$SECRET" | talos keys batch-verify - -q | {
	read -r first; read -r second; [ "$first $second" = "true false" ]
}
if talos keys verify forged -q >/dev/null; then exit 10; fi
`
	if _, err := exec.LookPath("jq"); err == nil {
		script += `KEY_ID=$(talos keys verify "$SECRET" --format json | jq -er .key_id)
talos keys issued get "$KEY_ID" --format json | jq -e '.status == "KEY_STATUS_ACTIVE"' >/dev/null
talos keys revoke "$KEY_ID" --reason key_compromise --format json | jq -e '. == {}' >/dev/null
if talos keys verify "$SECRET" -q >/dev/null; then exit 11; fi
`
	}
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = append(env, "TALOS_URL="+s.endpoint, "PATH="+filepath.Dir(binary(t))+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
