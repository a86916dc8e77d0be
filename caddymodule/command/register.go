package command

import (
	"errors"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
)

// BinaryName is the name of the binary in which the commands are at the top level.
const BinaryName = "talos"

func init() { //nolint:gochecknoinits // Caddy's commands are registered when their package is imported
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "talos",
		Usage: "serve|proxy|keys|events|jwk|migrate|webhook|health|backup|copy|doctor|version",
		Short: "Serves and manages API keys",
		Long:  "The commands of Talos Edge: a server for API keys, and a client for it.",
		CobraFunc: func(cmd *cobra.Command) {
			// Our own binary has the same commands one level higher.
			cmd.Hidden = caddy.CustomBinaryName == BinaryName
			group(cmd)
			cmd.SetHelpTemplate(helpTemplate())
			for _, c := range append(commands(), top{"version", versionShort, setVersion}) {
				sub := &cobra.Command{}
				c.set(sub)
				cmd.AddCommand(sub)
			}
		},
	})
}

// top is a command of the tree's highest level.
type top struct {
	name, short string
	set         func(*cobra.Command)
}

// commands are those that Caddy does not have under the same name.
func commands() []top {
	return []top{
		{"serve", serveShort, setServe},
		{"proxy", proxyShort, setProxy},
		{"keys", keysShort, setKeys},
		{"events", eventsShort, setEvents},
		{"edges", edgesShort, setEdges},
		{"jwk", jwkShort, setJWK},
		{"migrate", migrateShort, setMigrate},
		{"networks", networksShort, setNetworks},
		{"webhook", webhookShort, setWebhook},
		{"health", healthShort, setHealth},
		{"backup", backupShort, setBackup},
		{"copy", copyShort, setCopy},
		{"doctor", doctorShort, setDoctor},
	}
}

// RegisterTopLevel adds the commands beside Caddy's own, and adapts Caddy's to a binary of this name. It is
// called once, before [caddycmd.Main].
func RegisterTopLevel() {
	var first *cobra.Command
	list := commands()
	for i, c := range list {
		caddycmd.RegisterCommand(caddycmd.Command{Name: c.name, Short: c.short, CobraFunc: func(cmd *cobra.Command) {
			c.set(cmd)
			if i == 0 {
				first = cmd
			}
			if i == len(list)-1 { // the others have been added: the first one knows the root
				adopt(first.Root())
			}
		}})
	}
}

// group makes a command that only holds others. Cobra would answer a mistyped name with the help text and success.
func group(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknownCommand(cmd, args[0])
	}
	cmd.SetFlagErrorFunc(flagError)
}

// unknownCommand is the error of a command that a group does not have. The name is not repeated: it may be a credential
// in the wrong place.
func unknownCommand(group *cobra.Command, name string) error {
	var names []string
	for _, c := range group.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	path := group.CommandPath()
	if near := nearest(name, names); len(near) > 0 {
		return errors.New("unknown command; did you mean " + path + " " + strings.Join(near, " or ") + "?")
	}
	return errors.New("unknown command; see " + path + " --help")
}

// noArguments refuses arguments. The error repeats none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errors.New("no argument is allowed; see " + cmd.CommandPath() + " --help")
	}
	return nil
}

// exactly requires one argument for each name. The error repeats no argument.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return errors.New(strings.Join(names, " and ") + " must be given, and nothing else; see " +
				cmd.CommandPath() + " --help")
		}
		return nil
	}
}

// exit ends a command with an exit status. What there is to say has been printed.
func exit(cmd *cobra.Command, status int) error {
	cmd.SilenceErrors = true
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return status, nil })(cmd, nil)
}
