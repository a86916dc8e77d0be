package command

import (
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
)

// The test changes a variable of Caddy's, so it is not parallel.
func TestEveryCaddyWithTheModuleHasTheCommandTalos(t *testing.T) {
	registered, ok := caddycmd.Commands()["talos"]
	if !ok {
		t.Fatal("no command talos is registered")
	}
	for binary, hidden := range map[string]bool{"": false, "my-caddy": false, BinaryName: true} {
		caddy.CustomBinaryName = binary
		var cmd cobra.Command
		cmd.Use = registered.Name
		registered.CobraFunc(&cmd)
		if cmd.Hidden != hidden {
			t.Errorf("in the binary %q: hidden is %t", binary, cmd.Hidden)
		}
		for _, path := range [][]string{{"serve"}, {"keys", "issue"}, {"keys", "issued", "revoke"},
			{"keys", "imported", "batch-import"}, {"jwk", "generate"}, {"migrate", "up"}, {"version"}} {
			if found, rest, err := cmd.Find(path); err != nil || len(rest) > 0 || found.Name() != path[len(path)-1] {
				t.Errorf("in the binary %q: no %v", binary, path)
			}
		}
	}
	caddy.CustomBinaryName = ""
}
