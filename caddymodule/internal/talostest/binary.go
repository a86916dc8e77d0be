package talostest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

var buildDir string

// Main runs the tests of a package and returns the exit status. The TestMain of a package that calls Binary has to call
// it.
func Main(m interface{ Run() int }) int {
	dir, err := os.MkdirTemp("", "talos-test-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	buildDir = dir
	return m.Run()
}

var build = sync.OnceValues(func() (string, error) {
	if buildDir == "" {
		return "", errors.New("TestMain does not call talostest.Main")
	}
	name := filepath.Join(buildDir, "talos")
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	//nolint:gosec // the path is in this process' own temporary directory
	cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-o", name,
		"github.com/talos-edge/talos-edge/caddymodule/talos")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return name, nil
})

// Binary is the path of the command. It is built once for all tests of a package, as the image has it: static.
func Binary(tb testing.TB) string {
	tb.Helper()
	name, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return name
}
