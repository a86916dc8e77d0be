package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/caddymodule/node/networks"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage"
)

const networksShort = "Creates, lists and suspends networks in a database"

// networkCommands are what the commands under networks share.
type networkCommands struct {
	options
	migration
	id       string
	settings node.KeyOptions

	defaultTTL, maxTTL string
	quota              int64
}

// networkRecord is a network as it is printed.
type networkRecord struct {
	ID         string          `json:"id"`
	Hosts      []string        `json:"hosts"`
	Settings   json.RawMessage `json:"settings"`
	Suspended  bool            `json:"suspended"`
	CreateTime time.Time       `json:"create_time"`
	UpdateTime time.Time       `json:"update_time"`
}

// setNetworks makes cmd the command networks.
func setNetworks(cmd *cobra.Command) {
	n := &networkCommands{options: options{format: formatTable}}
	cmd.Use = "networks"
	cmd.Short = networksShort
	cmd.Long = `Creates, lists, suspends and resumes networks in a database. The nodes on the
database serve a new one at once and without a restart, under its hosts and beside
the networks of their configuration, and stop serving one that is suspended. What is
not given for a network is as the nodes' configuration has it; secrets never are in
the database. The database is the one at --database, else at $` + envDSN + `, else
the default of serve. It is opened as by a node, which migrates it.`
	cmd.Example = `  $ talos networks create tenant1.example.com tenant1.internal --key-prefix t1
  $ talos networks list
  $ talos networks suspend 550e8400-e29b-41d4-a716-446655440001`
	group(cmd)
	flags := cmd.PersistentFlags()
	flags.StringVar(&n.database, "database", "", "`DSN` of the database, sqlite:///path/of/the.db or postgres://…")
	n.addFormat(cmd, flags)
	create := &cobra.Command{
		Use:   "create HOST...",
		Short: "Creates a network",
		Long: `Creates a network with one or more hosts: names or addresses without ports, which
no other network may have. With --quiet: its id.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, hosts []string) error { return n.create(cmd, hosts) },
	}
	n.addSettings(create)
	list := &cobra.Command{
		Use:   "list",
		Short: "Lists the networks of the database",
		Long:  "Lists the networks of the database. With --quiet: the id of each that is not suspended.",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return n.on(cmd, func(ctx context.Context, s core.Store) error { return n.list(ctx, cmd, s) })
		},
	}
	cmd.AddCommand(create, list, n.suspend("suspend", "Makes the hosts of a network unknown to the nodes", true),
		n.suspend("resume", "Has the nodes serve a suspended network again", false))
}

func (n *networkCommands) addSettings(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&n.id, "id", "", "`UUID` of the network (default: a random one)")
	flags.StringVar(&n.settings.Issuer, "issuer", "", "`URI` of the issuer")
	flags.StringVar(&n.settings.KeyPrefix, "key-prefix", "", "what keys begin with")
	flags.StringVar(&n.settings.PublicPrefix, "public-prefix", "", "what public keys begin with")
	flags.StringVar(&n.settings.MacaroonPrefix, "macaroon-prefix", "", "what macaroons begin with")
	flags.StringVar(&n.defaultTTL, "default-ttl", "", "lifetime of keys that are issued without one; 0: none")
	flags.StringVar(&n.maxTTL, "max-ttl", "", "longest lifetime of a key")
	flags.Int64Var(&n.quota, "key-quota", 0, "how many keys may be active at once; 0: no limit")
}

// on calls f with the database.
func (n *networkCommands) on(cmd *cobra.Command, f func(context.Context, core.Store) error) error {
	return patiently(func(cmd *cobra.Command) (err error) {
		s, err := storage.Open(cmd.Context(), n.dsn(), storage.Options{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		return f(cmd.Context(), s)
	})(cmd, nil)
}

func (n *networkCommands) create(cmd *cobra.Command, hosts []string) error {
	network := core.Network{CreateTime: time.Now().UTC()}
	network.UpdateTime = network.CreateTime
	for _, text := range hosts {
		host, err := networks.ParseHost(text)
		if err != nil {
			return err
		}
		network.Hosts = append(network.Hosts, host)
	}
	err := n.readSettings(cmd)
	if err != nil {
		return err
	}
	if network.Settings, err = json.Marshal(n.settings); err != nil {
		return err
	}
	network.ID = uuid.New()
	if n.id != "" {
		if network.ID, err = networks.ParseID(n.id); err != nil {
			return fmt.Errorf("--id: %w", err)
		}
	}
	if _, err := node.CheckNetwork(&network); err != nil {
		return err
	}
	return n.on(cmd, func(ctx context.Context, s core.Store) error {
		if err := s.CreateNetwork(ctx, network); err != nil {
			return err
		}
		return n.printOne(cmd, &network)
	})
}

// readSettings takes over the flags that need it.
func (n *networkCommands) readSettings(cmd *cobra.Command) error {
	if n.defaultTTL != "" {
		d, err := core.ParseDuration(n.defaultTTL)
		if err != nil {
			return fmt.Errorf("--default-ttl: %w", err)
		}
		lifetime := node.Duration(d)
		n.settings.DefaultTTL = &lifetime
	}
	if n.maxTTL != "" {
		d, err := core.ParseDuration(n.maxTTL)
		if err != nil {
			return fmt.Errorf("--max-ttl: %w", err)
		}
		n.settings.MaxTTL = node.Duration(d)
	}
	if cmd.Flags().Changed("key-quota") {
		n.settings.KeyQuota = &n.quota
	}
	return nil
}

// suspend makes the command that suspends a network or resumes it.
func (n *networkCommands) suspend(name, short string, suspended bool) *cobra.Command {
	return &cobra.Command{
		Use:   name + " ID",
		Short: short,
		Long:  short + ". One that is so already is left as it is.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := networks.ParseID(args[0])
			if err != nil {
				return err
			}
			return n.on(cmd, func(ctx context.Context, s core.Store) error {
				changed, err := s.SuspendNetwork(ctx, id, suspended, time.Now())
				if err != nil {
					return err
				}
				return n.printOne(cmd, &changed)
			})
		},
	}
}

func (n *networkCommands) list(ctx context.Context, cmd *cobra.Command, s core.Store) error {
	all, err := s.Networks(ctx)
	if err != nil {
		return err
	}
	records, active := make([]networkRecord, len(all)), []string(nil)
	for i := range all {
		records[i] = recordOf(&all[i])
		if !all[i].Suspended {
			active = append(active, records[i].ID)
		}
	}
	answer, err := json.Marshal(map[string]any{"networks": records})
	if err != nil {
		return err
	}
	if len(all) == 0 {
		n.hint(cmd, "The database has no networks.")
	}
	return n.output(cmd, answer, strings.Join(active, "\n"), func(w io.Writer) error {
		return printNetworks(w, records)
	})
}

func (n *networkCommands) printOne(cmd *cobra.Command, network *core.Network) error {
	record := recordOf(network)
	answer, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return n.output(cmd, answer, record.ID, func(w io.Writer) error {
		return printNetworks(w, []networkRecord{record})
	})
}

func recordOf(n *core.Network) networkRecord {
	return networkRecord{n.ID.String(), n.Hosts, n.Settings, n.Suspended, n.CreateTime, n.UpdateTime}
}

func printNetworks(w io.Writer, records []networkRecord) error {
	if len(records) == 0 {
		return nil
	}
	times, rows := timesFor(w), make([][]string, len(records))
	for i := range records {
		r := &records[i]
		state := "active"
		if r.Suspended {
			state = "suspended"
		}
		rows[i] = []string{r.ID, state, strings.Join(r.Hosts, " "), string(r.Settings), times.at(r.CreateTime)}
	}
	return printRows(w, []string{"NETWORK", "STATE", "HOSTS", "SETTINGS", "CREATED"}, rows)
}
