package command

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/caddymodule/backup"
)

const backupShort = "Writes a backup of the database and the secrets that it needs"

// setBackup makes cmd the command backup.
func setBackup(cmd *cobra.Command) {
	var set setupFlags
	o := backup.Options{Writer: versionLine()}
	cmd.Use = "backup FILE"
	cmd.Short = backupShort
	cmd.Long = `Writes a backup of a node to FILE, a tar archive, while the node runs: the database as
of one moment, the secrets that were generated for it, and a note that says how to
restore them. FILE is made readable for its owner only, and appears when it is
complete. With - the archive goes to standard output.

The node is the one of --config, else the one that "talos serve" runs with this
environment. Secrets that the configuration or the environment gives are not part of
the backup: the command says which, and you keep them. It fails when the HMAC secret
is not the one that the keys were made with, because no key of the backup would verify.

The copy is made in a folder beside FILE (for -: in $TMPDIR) and then packed: for that
time the disk needs room for twice the database. A command that is killed may leave
that folder, .FILE.partial-…, behind; delete it.`
	cmd.Example = `  $ talos backup talos-$(date +%F).tar
  $ talos backup --config /etc/talos/Caddyfile - | age -r RECIPIENT > talos.tar.age`
	cmd.Args = exactly("FILE")
	set.add(cmd)
	cmd.Flags().BoolVarP(&o.Force, "force", "f", false, "replace FILE if it exists")
	cmd.Flags().BoolVar(&o.WithoutSecrets, "without-secrets", false,
		"leave the secrets out; without them, kept elsewhere, the backup is of no use")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.File = args[0]
		if o.File == "-" {
			o.File, o.Stdout = "", cmd.OutOrStdout()
			if isTerminal(o.Stdout) {
				return errors.New("standard output is a terminal: name a file, or pass the archive on")
			}
		}
		return writeBackup(cmd, &set, &o)
	}
}

func writeBackup(cmd *cobra.Command, set *setupFlags, o *backup.Options) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := set.load(cmd)
	if err != nil {
		return err
	}
	m, err := backup.Write(ctx, s, o)
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted; no backup was written")
		}
		return err
	}
	cmd.PrintErrln("backup of " + m.Database.Source + ": " + m.Summary())
	for _, missing := range m.Missing() {
		cmd.PrintErrln("not in it: " + missing)
	}
	return nil
}
