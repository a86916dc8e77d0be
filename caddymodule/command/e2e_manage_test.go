package command

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// bash runs a script in which every command must succeed.
func (s *server) bash(t *testing.T, env []string, script string) string {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("there is no bash")
	}
	cmd := exec.Command("bash", "-c", "set -euo pipefail\n"+script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(env, "TALOS_URL="+s.endpoint, "PATH="+filepath.Dir(binary(t))+":"+os.Getenv("PATH"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	return string(out)
}

// The whole lifecycle of keys as a script with jq goes through it.
func TestAShellScriptCanManageKeysWithJQ(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("there is no jq")
	}
	_, env := home(t)
	s := serveBinary(t, env)
	out := s.bash(t, env, `
ISSUED=$(talos keys issue ci --actor bot --scopes a,b --ttl 90d --metadata '{"team":"infra"}' --format json)
SECRET=$(jq -er .secret <<<"$ISSUED")
KEY_ID=$(jq -er .issued_api_key.key_id <<<"$ISSUED")

talos keys batch-verify "$SECRET" forged --format json | jq -ec '[.results[].is_valid]'
talos keys verify "$SECRET" --no-cache --format json | jq -e .is_valid

talos keys issued update "$KEY_ID" --name renamed --scopes a --allowed-cidrs 127.0.0.0/8,::1/128 \
  --rate-limit-quota 1000 --rate-limit-window 1h --format json | jq -ec '[.name, .scopes, .rate_limit_policy]'
talos keys issued update "$KEY_ID" --rate-limit-quota 2000 --format json | jq -ec .rate_limit_policy
talos keys issued update "$KEY_ID" --allowed-cidrs "" --rate-limit-quota 0 --metadata "" --format json |
  jq -ec '[.ip_restriction.allowed_cidrs // [], .rate_limit_policy.quota // "0", .metadata // {}]'

TOKEN=$(talos keys derive-token "$SECRET" --ttl 10m --scopes a --claims '{"job":7}' --format json | jq -er .token.token)
talos keys verify "$TOKEN" --format json | jq -ec .scopes
MACAROON=$(talos keys derive-token - --algorithm macaroon -q <<<"$SECRET")
NARROWER=$(talos keys attenuate - --expires 5m --scopes "" <<<"$MACAROON")
talos keys verify - --format json <<<"$NARROWER" | jq -ec '.scopes // []'
talos jwk get --format json | jq -ec '[(.keys | length), (.jwks.keys | length)]'

ROTATED=$(talos keys issued rotate "$KEY_ID" --scopes a,c --format json)
NEW=$(jq -er .secret <<<"$ROTATED")
jq -ec '[.issued_api_key.name, .issued_api_key.scopes, .old_issued_api_key.status]' <<<"$ROTATED"
talos keys batch-verify "$SECRET" "$NEW" "$TOKEN" --format json | jq -ec '[.results[].is_valid]'
talos keys revoke "$(jq -er .issued_api_key.key_id <<<"$ROTATED")" --reason superseded --format json | jq -ec .
if talos keys verify "$NEW" --no-cache -q; then exit 10; fi
talos keys issued list --actor bot --status revoked --format json | jq -er '.issued_api_keys | length'
PAGE=$(talos keys issued list --page-size 1 --format json | jq -er .next_page_token)
talos keys issued list --page-size 1 --page-token "$PAGE" -q | wc -l | tr -d ' '
`)
	want := `[true,false]
true
["renamed",["a"],{"quota":"1000","window":"3600s"}]
{"quota":"2000","window":"3600s"}
[[],"0",{}]
["a"]
[]
[1,1]
["renamed",["a","c"],"KEY_STATUS_REVOKED"]
[false,true,false]
{}
false
2
1
`
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestAShellScriptCanImportKeysWithJQ(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("there is no jq")
	}
	_, env := home(t)
	s := serveBinary(t, env)
	out := s.bash(t, env, `
ID=$(printf 'legacy one\n' | talos keys imported import one --raw-key - --actor bot --format json | jq -er .key_id)
talos keys verify 'legacy one' -q
talos keys imported get "$ID" -q
talos keys imported update "$ID" --name first --format json | jq -er .name

jq -nc '[range(2500) | {raw_key: "batch-\(.)", name: "b", actor_id: "batch"}]' >keys.json
talos keys imported batch-import --file - --format json <keys.json |
	jq -ec '[.success_count, .failure_count, (.results | length)]'
talos keys imported batch-import --file keys.json --report failed.jsonl
jq -sc '[length, .[0].keys]' failed.jsonl
if grep -q batch- failed.jsonl; then exit 10; fi
jq -c '.[:3] | {requests: .}' keys.json | talos keys imported batch-import --file - --format json |
	jq -ec '[.failure_count, .results[2].error_code]'
cat >some.json <<-'EOF'
	[{"raw_key":"fresh","name":"f","actor_id":"batch"},{"raw_key":"","name":"f","actor_id":"batch"},
	{"raw_key":"x","name":3}]
EOF
if talos keys imported batch-import --file some.json --format json >out.json; then exit 11; fi
jq -ec '[.success_count, .failure_count, [
	.results[] | .error_code // "" | ltrimstr("BATCH_CREATE_IMPORTED_API_KEYS_ERROR_")
]]' out.json
talos keys batch-verify batch-0 batch-2499 fresh x --format json | jq -ec '[.results[].is_valid]'

talos keys imported revoke "$ID" -q
if talos keys verify 'legacy one' --no-cache -q; then exit 12; fi
talos keys imported delete "$ID"
talos keys imported import again --raw-key 'legacy one' --actor bot -q | tr -d '0-9a-f'
FRESH=$(talos keys verify fresh --format json | jq -er .key_id)
talos keys revoke "$FRESH"  -q
talos keys imported list --actor batch --status revoked -q | grep -c "$FRESH"
`)
	want := `true
active
first
[2500,0,0]
IMPORTED       0
ALREADY THERE  2500
FAILED         0
[1,2500]
[3,"BATCH_CREATE_IMPORTED_API_KEYS_ERROR_ALREADY_EXISTS"]
[1,2,["","INVALID_ARGUMENT","INVALID_ARGUMENT"]]
[true,true,true,false]
false
`
	rest, ok := strings.CutPrefix(out, want)
	if !ok || !strings.HasPrefix(rest, "deleted ") || !strings.HasSuffix(rest, "\n\n1\n") {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestTheBinaryStopsAndResumesAnImport(t *testing.T) {
	t.Parallel()
	s := &importServer{}
	calling, release := make(chan struct{}), make(chan struct{})
	s.before = func() {
		if len(s.calls) == 2 {
			close(calling)
			<-release
		}
	}
	endpoint := s.start(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "keys.json"), keysJSON(5000))
	args := []string{"keys", "imported", "batch-import", "--file", filepath.Join(dir, "keys.json"),
		"--report", filepath.Join(dir, "left.jsonl"), "-e", endpoint}
	cmd := exec.Command(binary(t), args...)
	cmd.Env = []string{"HOME=" + dir}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-calling
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "Interrupted") {
		t.Errorf("an interrupt is answered by %q", lines.Text())
	}
	close(release)
	if !lines.Scan() || lines.Text() != "Error: interrupted; the same command with the same --report goes on" {
		t.Errorf("the end is %q", lines.Text())
	}
	err = cmd.Wait()
	if keys, _ := s.seen(); err == nil || keys != 2000 {
		t.Errorf("%v; %d keys are imported", err, keys)
	}
	if out, exit := runBinary(t, cmd.Env, append(args, "-q")...); exit != 0 || out != "3000\n" {
		t.Errorf("going on: exit status %d, %q", exit, out)
	}
	if keys, calls := s.seen(); keys != 5000 || calls != "[1000 1000 1000 1000 1000]" {
		t.Errorf("%d keys are imported, in calls of %s", keys, calls)
	}
	onlyFiles(t, dir, "keys.json", "left.jsonl")
}

// A million keys take as much memory as some thousands: the input is not held, nor is what came of it.
func TestTheBinaryImportsManyKeysInBoundedMemory(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("reads much input")
	}
	const keys, size = 100_000, 600 // 60 MB
	var pid, peak atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Requests []struct{} `json:"requests"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		var out bytes.Buffer // every key fails, with a long message: the worst for the memory
		out.WriteString(`{"results":[`)
		for i := range in.Requests {
			if i > 0 {
				out.WriteByte(',')
			}
			code := `"error_code":"BATCH_CREATE_IMPORTED_API_KEYS_ERROR_INVALID_ARGUMENT",` +
				`"error_message":"` + strings.Repeat("m", size) + `"`
			_, _ = fmt.Fprintf(&out, `{"index":%d,%s}`, i, code)
		}
		out.WriteString(`]}`)
		peak.Store(peakMemory(pid.Load()))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(out.Bytes())
	}))
	t.Cleanup(srv.Close)
	cmd := exec.Command(binary(t), "keys", "imported", "batch-import", "--file", "-", "-e", srv.URL, "--format", "json")
	cmd.Env = []string{"HOME=" + t.TempDir(), "GOMEMLIMIT=off", "GOGC=100"}
	cmd.Stdin = endless(keys, size)
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	err := cmd.Start()
	if err != nil {
		t.Fatal(err)
	}
	pid.Store(int64(cmd.Process.Pid))
	err = cmd.Wait()
	var out struct {
		Failed  int               `json:"failure_count"`
		Results []json.RawMessage `json:"results"`
	}
	if err == nil || json.Unmarshal(stdout.Bytes(), &out) != nil || out.Failed != keys || len(out.Results) != keys {
		t.Errorf("%v; %d failures", err, out.Failed)
	}
	if peak.Load() > 160<<10 { // the binary alone has some 70 MiB
		t.Errorf("the process had %d MiB", peak.Load()>>10)
	} else {
		t.Logf("the process had %d MiB", peak.Load()>>10)
	}
}

// peakMemory is the most memory that a process has had, in KiB; 0 where the system does not say. The kernel's account
// of a process that has ended counts what its parent had when it was started, too.
func peakMemory(pid int64) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, _ = fmt.Sscan(rest, &kib)
	return kib
}
