package command

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

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
	part := surfaceBoth
	if !s.loopback() {
		part = surfacePublic // the only one that serve has beyond this machine
	}
	hosts, err := hostsOrLoopback(cmd.Context(), s.hosts)
	if err != nil {
		return nil, err
	}
	text, err := s.caddyfile(part, hosts)
	if err != nil {
		return nil, err
	}
	if err := s.setDerived(); err != nil {
		return nil, err
	}
	config, _, err := adapt("serve", text)
	return config, err
}
