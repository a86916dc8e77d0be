package command

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
)

// modulePath is the Go module that the commands are part of.
const modulePath = "github.com/talos-edge/talos-edge"

const versionShort = "Prints the versions of Talos Edge and of Caddy"

// buildInfo says what a binary was built from.
type buildInfo struct {
	Version  string `json:"version"`            // of the module; "(devel)" if the build does not say
	Revision string `json:"revision,omitempty"` // of the source, where it was built from a checkout
	Time     string `json:"time,omitempty"`     // of that revision
	Modified bool   `json:"modified,omitempty"` // the checkout had changes beside it
	Caddy    string `json:"caddy"`
	Go       string `json:"go"`
}

// readBuild reads what the Go command wrote into the binary.
func readBuild() buildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	caddyVersion, _ := caddy.Version()
	return newBuildInfo(info, caddyVersion)
}

func newBuildInfo(info *debug.BuildInfo, caddyVersion string) buildInfo {
	b := buildInfo{Version: "(devel)", Caddy: caddyVersion, Go: info.GoVersion}
	if info.Main.Path != modulePath { // a Caddy that was built with the module
		for _, dep := range info.Deps {
			if dep.Path == modulePath {
				b.Version = dep.Version
			}
		}
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// line says it in one line.
func (b buildInfo) line() string {
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
		b := readBuild()
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
