package command

import (
	"errors"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddyserver/caddy/v2"
)

// BinaryName is the name of the binary in which the commands stand at the top level.
const BinaryName = "talos"

func init() { //nolint:gochecknoinits // Caddy's commands are registered when their package is imported
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "talos",
		Usage: "serve|proxy|keys|jwk|migrate|health",
		Short: "Serves and manages API keys",
		Long:  "The commands of Talos Edge: a server for API keys, and a client for it.",
		CobraFunc: func(cmd *cobra.Command) {
			// Our own binary has the same commands one level higher.
			cmd.Hidden = caddy.CustomBinaryName == BinaryName
			group(cmd)
			for _, c := range commands() {
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

func commands() []top {
	return []top{
		{"serve", serveShort, setServe},
		{"proxy", proxyShort, setProxy},
		{"keys", keysShort, setKeys},
		{"jwk", jwkShort, setJWK},
		{"migrate", migrateShort, setMigrate},
		{"health", healthShort, setHealth},
	}
}

// RegisterTopLevel adds the commands beside Caddy's own. It is called once, before [caddycmd.Main].
func RegisterTopLevel() {
	for _, c := range commands() {
		caddycmd.RegisterCommand(caddycmd.Command{Name: c.name, Short: c.short, CobraFunc: c.set})
	}
}

// group makes a command that only holds others. Cobra would answer a mistyped name with the help text and success.
func group(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		// The argument is not repeated: it may be a credential in the wrong place.
		text := "unknown command; see " + cmd.CommandPath() + " --help"
		if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
			text = "unknown command; did you mean " + cmd.CommandPath() + " " + strings.Join(similar, " or ") + "?"
		}
		return errors.New(text)
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.SetFlagErrorFunc(flagError)
}

// flagError explains a flag that could not be read. Cobra's own text would repeat the whole argument, which may be a
// credential that begins with a dash.
func flagError(cmd *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() != "" {
		return errors.New("unknown flag; a credential that begins with a dash is given as - and read from " +
			"standard input; see " + cmd.CommandPath() + " --help")
	}
	return err
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
