package command

import (
	"errors"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/talos-edge/talos-edge/caddymodule/internal/build"
)

// repository is where the documentation is.
const repository = "https://github.com/talos-edge/talos-edge"

// helpTemplate is cobra's own, followed by where to read more.
func helpTemplate() string {
	return (&cobra.Command{}).HelpTemplate() + "\nDocumentation: " + repository + "\n"
}

// adopt makes Caddy's commands those of our binary: they name it, the version is its own, mistakes are explained as
// those in our commands are, and what cannot work in it says what to do instead.
func adopt(root *cobra.Command) {
	root.Example = `  $ talos serve
  $ talos run --config Caddyfile
  $ talos reload --config Caddyfile
  $ talos keys issue my-key --actor me`
	root.Version = versionLine()
	root.SetHelpTemplate(helpTemplate())
	group(root)
	for _, c := range root.Commands() {
		if c.Name() == "version" {
			root.RemoveCommand(c)
		}
	}
	version := &cobra.Command{}
	setVersion(version)
	root.AddCommand(version)
	root.SetHelpCommand(newHelp())

	names := make([]string, 0, len(root.Commands()))
	for _, c := range root.Commands() {
		names = append(names, regexp.QuoteMeta(c.Name()))
	}
	call := regexp.MustCompile(`\bcaddy (` + strings.Join(names, "|") + `)\b`)
	for _, c := range root.Commands() {
		rename(c, call)
	}
	replaceUnusable(root)
}

// rename makes the help of a command and of those under it name our binary where Caddy's is called. Caddy itself keeps
// its name.
func rename(cmd *cobra.Command, call *regexp.Regexp) {
	const ours = BinaryName + " $1"
	for _, text := range []*string{&cmd.Short, &cmd.Long, &cmd.Example} {
		*text = call.ReplaceAllString(*text, ours)
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Usage = call.ReplaceAllString(f.Usage, ours) })
	if cmd.HasSubCommands() && !cmd.Runnable() {
		group(cmd)
	}
	for _, c := range cmd.Commands() {
		rename(c, call)
	}
}

// replaceUnusable hides the commands that have Caddy's build service make another binary. That service does not know
// this one.
func replaceUnusable(root *cobra.Command) {
	const build = "to have other packages, build a Caddy with them and with Talos Edge: " +
		"xcaddy build --with " + build.ModulePath + "/caddymodule --with PACKAGE"
	for name, instead := range map[string]string{
		"upgrade":        "a newer " + BinaryName + " is installed in place of this one, from " + repository,
		"add-package":    build,
		"remove-package": build,
	} {
		c, _, err := root.Find([]string{name})
		if err != nil || c == root {
			continue // a Caddy without it
		}
		c.Hidden = true
		c.Short, c.Long = "Not available", "This command is not available in "+BinaryName+": "+instead+"."
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(*cobra.Command, []string) error {
			return errors.New("not available in " + BinaryName + ": " + instead)
		}
	}
}

// newHelp makes the command help. Cobra's own repeats a name that it does not know, and succeeds.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Prints the help of a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil {
				return errors.New("unknown command; see " + cmd.Root().Name() + " --help")
			}
			if len(rest) > 0 && found.HasSubCommands() {
				return unknownCommand(found, rest[0])
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}
