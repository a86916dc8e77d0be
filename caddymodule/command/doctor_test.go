package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/doctor"
)

func TestDoctorLooksAtWhatServeRuns(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	s := serveBinary(t, env)
	secret, _ := s.issue(t)
	port := envPort + "=" + s.endpoint[strings.LastIndexByte(s.endpoint, ':')+1:]
	out, exit := runBinary(t, append(env, port), "doctor")
	if exit != 0 || !strings.HasSuffix(out, "0 errors, 0 warnings, 0 notes\n") {
		t.Errorf("beside its server: exit status %d\n%s", exit, out)
	}

	data := filepath.Join(dir, "data", "caddy")
	if err := os.Chmod(filepath.Join(data, "talos", "hmac_secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	hidden, err := os.ReadFile(filepath.Join(data, "talos", "hmac_secret"))
	if err != nil {
		t.Fatal(err)
	}
	out, exit = runBinary(t, append(env, port), "doctor", "--format", "json")
	var report doctor.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || exit != 1 || report.Worst() != doctor.Error {
		t.Errorf("exit status %d, %v: %s", exit, err, out)
	}
	if strings.Contains(out, string(hidden)) || strings.Contains(out, secret) {
		t.Error("a secret is in the report")
	}
	text, exit := runBinary(t, append(env, port), "doctor")
	for _, want := range []string{"ERROR    files: ", "\n         why: ", "\n         fix: chmod 600 ", "1 error, "} {
		if exit != 1 || !strings.Contains(text, want) {
			t.Errorf("exit status %d, without %q:\n%s", exit, want, text)
		}
	}
}

func TestDoctorSaysWhyAConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte("{\n\ttalos {\n\t\tnonsense\n\t}\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, exit := runBinary(t, env, "doctor", "--config", file)
	if exit != 1 || !strings.Contains(out, "Caddyfile:3") || !strings.Contains(out, "skipped  database") {
		t.Errorf("exit status %d\n%s", exit, out)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "Caddyfile" }) ||
		len(entries) != 1 {
		t.Errorf("it made %v: %v", entries, err)
	}
}
