package command

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/talos-edge/talos-edge/caddymodule/internal/setup"
)

// setupFlags say which set-up a command looks at: the one of a configuration file, or else the one that serve runs with
// the same environment.
type setupFlags struct{ config, adapter, database string }

func (f *setupFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.config, "config", "c", "", "configuration `FILE` of the node; without it, what serve runs")
	flags.StringVarP(&f.adapter, "adapter", "a", "", "name of the file's config adapter, with --config")
	flags.StringVar(&f.database, "database", "", "`DSN` of the database, in place of the configured one")
}

// load reads the configuration.
func (f *setupFlags) load(cmd *cobra.Command) (*setup.Setup, error) {
	if f.config != "" {
		return setup.LoadFile(f.config, f.adapter, f.database)
	}
	if f.adapter != "" {
		return nil, errors.New("--adapter is for a configuration file, which --config names")
	}
	config, err := servedConfig(cmd)
	if err != nil {
		return nil, err
	}
	return setup.Load(config, f.database)
}

// servedConfig is the configuration that serve would run with this environment.
func servedConfig(cmd *cobra.Command) ([]byte, error) {
	s, err := readSettings(os.Getenv)
	if err != nil {
		return nil, err
	}
	part, hosts := surfaceBoth, s.hosts
	if hosts == nil {
		if hosts, err = loopbackHosts(cmd.Context()); err != nil {
			return nil, err
		}
	} else if !s.loopback() {
		part = surfacePublic // the only one that serve has beyond this machine
	}
	text, err := s.caddyfile(part, hosts)
	if err != nil {
		return nil, err
	}
	for name, value := range s.derived {
		if err := os.Setenv(name, value); err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return nil, errors.New("this build of Caddy has no Caddyfile adapter")
	}
	config, _, err := adapter.Adapt([]byte(text), map[string]any{"filename": "serve"})
	return config, err
}
