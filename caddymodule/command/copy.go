package command

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/storage"
)

const copyShort = "Copies a database into a new one, also of another engine"

// exitMissed is the exit status of a copy whose source has changed since.
const exitMissed = exitMore

// copying is a command copy.
type copying struct {
	from, to  string
	follow    bool
	untilIdle time.Duration
}

// setCopy makes cmd the command copy.
func setCopy(cmd *cobra.Command) {
	c := &copying{}
	cmd.Use = "copy --from DSN --to DSN"
	cmd.Short = copyShort
	cmd.Long = `Copies the database --from into the new or empty one --to, from SQLite to PostgreSQL for
instance: the keys with their states, the events with their positions, and how far
receivers of events have come. Number and SHA-256 of the rows are compared on both sides
and printed. Nodes may go on using the source, which is read as of one moment; none opens
the target before the copy is complete.

Without --follow, changes that are made meanwhile are not in the target, and the exit
status is ` + strconv.Itoa(exitMissed) + ` if there are any. With --follow they are copied too:

  1. talos copy --from OLD --to NEW --follow    until it is no change behind
  2. stop the nodes on the old database; then press Ctrl-C, or have given --until-idle
  3. when the command has succeeded, start the nodes on the new one

It never completes the copy while a node uses the source; a node that was killed counts
as one for a minute. Ctrl-C earlier, or once more, ends the command, and the target is
of no use. So does an error. The same command then begins anew.

The nodes on the new database need the secrets of those on the old one; the command says
which. A password in a DSN can be seen in the list of processes: PGPASSWORD and
~/.pgpass are read.`
	cmd.Example = `  $ talos copy --from sqlite:///var/lib/talos/talos.db --to postgres://talos@localhost/talos
  $ talos copy --from "$OLD" --to "$NEW" --follow --until-idle 2s`
	cmd.Args = noArguments
	flags := cmd.Flags()
	flags.StringVar(&c.from, "from", "", "`DSN` of the database to copy")
	flags.StringVar(&c.to, "to", "", "`DSN` of the new database")
	flags.BoolVar(&c.follow, "follow", false, "copy the changes that are made meanwhile, until Ctrl-C")
	flags.DurationVar(&c.untilIdle, "until-idle", 0,
		"with --follow: end when no node uses the source and nothing has changed for this `TIME`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case c.from == "" || c.to == "":
			return errors.New("--from and --to must be given; see " + cmd.CommandPath() + " --help")
		case c.untilIdle < 0:
			return errors.New("--until-idle: must not be negative")
		case c.untilIdle > 0 && !c.follow:
			return errors.New("--until-idle is for --follow")
		}
		return c.run(cmd)
	}
}

func (c *copying) run(cmd *cobra.Command) error {
	p := newCopyProgress(cmd.ErrOrStderr())
	o := storage.CopyOptions{Progress: p.show}
	ctx, finish, stop := c.interrupts(cmd, p)
	defer stop()
	if c.follow {
		o.Follow = &storage.CopyFollow{UntilIdle: c.untilIdle, Finish: finish}
	}
	r, err := storage.Copy(ctx, c.from, c.to, storage.Options{}, o)
	p.clear()
	switch {
	case err != nil && ctx.Err() != nil && cmd.Context().Err() == nil:
		return errors.New("interrupted; the target is not complete, and no node opens it: begin the copy anew")
	case err != nil:
		return err
	}
	return c.report(cmd, r)
}

// report says what was copied, and what the nodes on the target need.
func (c *copying) report(cmd *cobra.Command, r *storage.CopyResult) error {
	rows := make([][]string, len(r.Tables))
	for i, t := range r.Tables {
		rows[i] = []string{t.Name, strconv.FormatInt(t.Rows, 10), t.Digest}
	}
	if err := printRows(cmd.OutOrStdout(), []string{"TABLE", "ROWS", "SHA256"}, rows); err != nil {
		return err
	}
	cmd.PrintErrf("copied %s to %s, up to change %d\n", storage.Display(c.from), storage.Display(c.to), r.Position)
	if err := c.printSecrets(cmd); err != nil {
		return err
	}
	if r.Missed > 0 {
		cmd.PrintErrf("The source has changed since, up to change %d, and the copy has not. To replace the source "+
			"by a copy, stop its nodes before, or copy with --follow.\n", r.Position+r.Missed)
		return exit(cmd, exitMissed)
	}
	return nil
}

// interrupts are the context of a copy, and a channel that is closed when it is to be completed: by the first signal
// while it follows. Any other signal ends the context.
func (c *copying) interrupts(
	cmd *cobra.Command, p *copyProgress,
) (ctx context.Context, finish chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(cmd.Context())
	finish = make(chan struct{})
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer close(done)
		for finishing := false; ; {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			if finishing || !p.following.Load() {
				cancel()
				return
			}
			finishing = true
			cmd.PrintErrln("The copy is completed when no node uses the source. Ctrl-C again ends it without that.")
			close(finish)
		}
	}()
	return ctx, finish, func() {
		signal.Stop(signals)
		cancel()
		<-done
	}
}

// printSecrets says which secrets the nodes on the target need.
func (c *copying) printSecrets(cmd *cobra.Command) error {
	s, err := storage.ReadState(cmd.Context(), c.to)
	if err != nil || len(s.Checks) == 0 { // no node has used the source
		return err
	}
	cmd.PrintErrln("Give the nodes on the target the HMAC secret (hmac_secret, " + envCurrent + ") that the keys " +
		"were made with, and the signing keys (signing_keys, " + envSigningKeys + ") of the source's nodes. " +
		c.whichSecret(s))
	return nil
}

// whichSecret says where the HMAC secret of a database is.
func (c *copying) whichSecret(s *storage.State) string {
	current := os.Getenv(envCurrent)
	if current == "" {
		text := "If they were generated, they are in talos/ in Caddy's storage: hmac_secret and signing_keys."
		if storage.Shared(c.to) {
			text += " Nodes with one database must be given them."
		}
		return text
	}
	keyring, err := credential.NewKeyring(current)
	if err != nil {
		return "The one in " + envCurrent + " here is not usable."
	}
	for _, check := range s.Checks {
		if check != keyring.Checks()[0] {
			return "The one in " + envCurrent + " here is another one, or not that of every network."
		}
	}
	return "The HMAC secret is the one in " + envCurrent + " here."
}
