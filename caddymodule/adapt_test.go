package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // the Caddyfile adapter and what its output names
)

// TestCaddyfileAdapts runs the golden files: a Caddyfile, a line of ten hyphens, and the JSON that it adapts to, or the
// error. TALOS_UPDATE=1 writes the second part anew.
func TestCaddyfileAdapts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			t.Parallel()
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source, want, found := strings.Cut(string(golden), "\n----------\n")
			if !found {
				t.Fatal("no line of ten hyphens")
			}
			got := adapted(t, source+"\n")
			if os.Getenv("TALOS_UPDATE") != "" {
				if err := os.WriteFile(file, []byte(source+"\n----------\n"+got+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != strings.TrimSpace(want) {
				t.Errorf("got\n%s\nwant\n%s", got, strings.TrimSpace(want))
			}
		})
	}
}

// adapted returns what a Caddyfile adapts to, as indented JSON, or the error.
func adapted(t *testing.T, source string) string {
	t.Helper()
	adapter := caddyconfig.GetAdapter("caddyfile")
	body, _, err := adapter.Adapt([]byte(source), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err.Error()
	}
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
