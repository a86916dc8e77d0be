package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// What is built when no binary is given: ours, with default.pgo if its folder has one, and Caddy's own main package at
// the version in go.mod, by the same compiler.
const (
	ourMain   = "github.com/talos-edge/talos-edge/caddymodule/talos"
	stockMain = "github.com/caddyserver/caddy/v2/cmd/caddy"
)

// binaryFor gives the given path, or else builds pkg into dir.
func binaryFor(ctx context.Context, given, dir, pkg string) (string, error) {
	if given != "" {
		path, err := filepath.Abs(given)
		if err != nil {
			return "", err
		}
		_, err = os.Stat(path)
		return path, err
	}
	path := filepath.Join(dir, filepath.Base(pkg)+".exe") // the suffix that Windows requires
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}
