package build

import (
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
)

// ModulePath is the Go module that the binary is built from.
const ModulePath = "github.com/talos-edge/talos-edge"

// Info says what a binary was built from.
type Info struct {
	Version  string `json:"version"`            // of the module; "(devel)" if the build does not say
	Revision string `json:"revision,omitempty"` // of the source, where it was built from a checkout
	Time     string `json:"time,omitempty"`     // of that revision
	Modified bool   `json:"modified,omitempty"` // the checkout had changes beside it
	Caddy    string `json:"caddy"`
	Go       string `json:"go"`
}

// Read reads what the Go command wrote into the binary.
func Read() Info {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	caddyVersion, _ := caddy.Version()
	return Of(info, caddyVersion)
}

// Of reads what a build says of itself, beside the version of Caddy.
func Of(info *debug.BuildInfo, caddyVersion string) Info {
	b := Info{Version: "(devel)", Caddy: caddyVersion, Go: info.GoVersion}
	if info.Main.Path != ModulePath { // a Caddy that was built with the module
		for _, dep := range info.Deps {
			if dep.Path == ModulePath {
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
