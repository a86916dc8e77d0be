package command

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/caddymodule/internal/build"
)

const versionShort = "Prints the versions of Talos Edge and of Caddy"

// versionLine says in one line what the binary is built from.
func versionLine() string {
	b := build.Read()
	return fmt.Sprintf("%s %s, Caddy %s, %s", BinaryName, b.Version, b.Caddy, b.Go)
}

// setVersion makes cmd the command version.
func setVersion(cmd *cobra.Command) {
	o := &options{format: formatTable}
	cmd.Use = "version"
	cmd.Short = versionShort
	cmd.Long = `Prints the versions of Talos Edge, of Caddy and of Go, and the revision of the
source where the binary was built from a checkout.`
	cmd.Args = noArguments
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		b := build.Read()
		answer, err := json.Marshal(b)
		if err != nil {
			return fmt.Errorf("writing the version: %w", err)
		}
		return o.output(cmd, answer, b.Version, func(w io.Writer) error {
			revision := b.Revision
			if b.Modified {
				revision += ", with changes"
			}
			return printFields(w, field{"TALOS EDGE", b.Version}, field{"REVISION", revision},
				field{"CADDY", b.Caddy}, field{"GO", b.Go})
		})
	}
	o.addFormat(cmd, cmd.Flags())
}
