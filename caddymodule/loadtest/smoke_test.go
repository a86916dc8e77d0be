package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain plays the roles of the harness: in a test, its children are this test binary.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(exitCode(play(role, os.Stdin, os.Stdout)))
	}
	goleak.VerifyTestMain(m)
}

// long skips a test that builds and starts the real binaries.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("TALOS_LONG") != "1" {
		t.Skip("builds and loads the real binaries: set TALOS_LONG=1")
	}
}

// The two smoke tests are one after the other: each has the machine to itself, as a run needs it.
func TestWholeRunFailsNoRequestAndLeavesNothingBehind(t *testing.T) {
	long(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	var out, progress strings.Builder
	args := []string{"-rounds", "2", "-slot", "100ms", "-conns", "8", "-keys", "100", "-json"}
	if err := run(t.Context(), args, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	var r report
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != len(standardVariants(1)) || len(r.Pairs) != len(goals) {
		t.Fatalf("%d variants, %d comparisons: %s", len(r.Rows), len(r.Pairs), out.String())
	}
	for _, row := range r.Rows {
		if row.Requests == 0 || row.Failures != 0 || row.Rate == nil || row.P50 == nil || row.GOGC == "" {
			t.Errorf("%+v", row)
		}
		if runtime.GOOS == "linux" && row.CPU == nil {
			t.Errorf("%s: no CPU time", row.Name)
		}
	}
	if left, err := filepath.Glob(filepath.Join(temp, "talos-loadtest-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestProfileIsOneThatTheToolchainReads(t *testing.T) {
	long(t)
	file := filepath.Join(t.TempDir(), "default.pgo")
	var progress strings.Builder
	args := []string{"-rounds", "2", "-slot", "500ms", "-conns", "8", "-keys", "100", "-cpuprofile", file}
	if err := run(t.Context(), args, &progress, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	top, err := exec.CommandContext(t.Context(), "go", "tool", "pprof", "-top", "-cum", file).CombinedOutput()
	if err != nil || !strings.Contains(string(top), "caddymodule/gate.(*Gate).ServeHTTP") {
		t.Errorf("%v: the profile does not know the gate:\n%.2000s", err, top)
	}
}
