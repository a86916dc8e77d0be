package command

import (
	"context"
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
	var (
		set        setupFlags
		passphrase string // the file of it
		decrypt    bool
	)
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
A PostgreSQL database is copied into a SQLite file in the archive.

With --passphrase-file the archive is encrypted, in the format of age. --decrypt writes
the archive in the encrypted FILE to standard output, once all of it was found to be
intact. Either takes 256 MiB of memory for a second. Keep the passphrase: nothing else
opens the archive.

The copy is made in a folder beside FILE (for -: in $TMPDIR), not encrypted, and then
packed: for that time the disk needs room for twice the database. A command that is
killed may leave that folder, .FILE.partial-…, behind; delete it.`
	cmd.Example = `  $ talos backup talos-$(date +%F).tar
  $ talos backup --passphrase-file /etc/talos/passphrase talos.tar.age
  $ talos backup --decrypt --passphrase-file - talos.tar.age | tar -xf - -C "$data"`
	cmd.Args = exactly("FILE")
	set.add(cmd)
	flags := cmd.Flags()
	flags.BoolVarP(&o.Force, "force", "f", false, "replace FILE if it exists")
	flags.BoolVar(&o.WithoutSecrets, "without-secrets", false,
		"leave the secrets out; without them, kept elsewhere, the backup is of no use")
	flags.StringVar(&passphrase, "passphrase-file", "",
		"`FILE` with the passphrase in its first line; -: standard input, or the terminal asks for it")
	flags.BoolVar(&decrypt, "decrypt", false, "write the archive in an encrypted FILE to standard output")
	for _, other := range []string{"config", "adapter", "database", "force", "without-secrets"} {
		cmd.MarkFlagsMutuallyExclusive("decrypt", other)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if args[0] == "-" || decrypt {
			o.Stdout = cmd.OutOrStdout()
			if isTerminal(o.Stdout) {
				return errors.New("standard output is a terminal: name a file, or pass the archive on")
			}
		}
		if decrypt {
			if passphrase == "" {
				passphrase = "-"
			}
			secret, err := readPassphrase(cmd, passphrase, false)
			if err != nil {
				return err
			}
			return backup.Decrypt(ctx, args[0], secret, o.Stdout)
		}
		if passphrase != "" {
			if o.Passphrase, err = readPassphrase(cmd, passphrase, true); err != nil {
				return err
			}
		}
		if args[0] != "-" {
			o.File = args[0]
		}
		return writeBackup(ctx, cmd, &set, &o)
	}
}

// readPassphrase reads a passphrase from a file, or with - from standard input: a terminal asks for it, and once more
// for a new one.
func readPassphrase(cmd *cobra.Command, file string, fresh bool) (secret string, err error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		return backup.ReadPassphrase(f)
	}
	if !isTerminal(cmd.InOrStdin()) {
		return backup.ReadPassphrase(cmd.InOrStdin())
	}
	if secret, err = askSecret(cmd, "Passphrase of the backup: "); err != nil || !fresh {
		return secret, err
	}
	again, err := askSecret(cmd, "The same once more: ")
	if err == nil && again != secret {
		err = errors.New("the two are not the same")
	}
	return secret, err
}

func writeBackup(ctx context.Context, cmd *cobra.Command, set *setupFlags, o *backup.Options) error {
	s, err := set.load(cmd) //nolint:contextcheck // it has the command's
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
