package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/storage"
)

const migrateShort = "Brings the schema of a database up or down"

// migration is what the commands under migrate share.
type migration struct {
	database string
	steps    int
	yes      bool // down: without asking
}

// setMigrate makes cmd the command migrate.
func setMigrate(cmd *cobra.Command) {
	m := &migration{}
	cmd.Use = "migrate"
	cmd.Short = migrateShort
	cmd.Long = `Brings the schema of a database up or down. A server that starts brings its database
up; these commands are for doing it at another time, or once before several
servers are replaced one by one, and for going back to an older build, which
refuses a newer database that it may not run on. The database is the one at
--database, else at $` + envDSN + `, else the default of serve.`
	cmd.Example = `  $ talos migrate status
  $ talos migrate down --steps 1 --yes --database sqlite:///var/lib/talos/talos.db`
	group(cmd)
	cmd.PersistentFlags().StringVar(&m.database, "database", "",
		"`DSN` of the database, sqlite:///path/of/the.db or postgres://…")
	up := &cobra.Command{
		Use:   "up",
		Short: "Brings the schema to the newest version that this build knows",
		Long: `Brings the schema to the newest version that this build knows, or with --steps by
that many versions. A database that is missing is created.`,
		Args: noArguments,
		RunE: patiently(m.up),
	}
	up.Flags().IntVar(&m.steps, "steps", 0, "how many versions; 0: all")
	down := &cobra.Command{
		Use:   "down --steps N",
		Short: "Takes the schema back, with the data that an older one cannot hold",
		Long: `Takes the schema back by --steps versions, with the data that an older version
cannot hold: back at version 0, all keys are gone. Stop the servers that use the
database before, and keep a copy of it. It asks before it does so; where standard
input is not a terminal, --yes is needed.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := m.confirmDown(cmd); err != nil {
				return err
			}
			return patiently(m.down)(cmd, args)
		},
	}
	down.Flags().IntVar(&m.steps, "steps", 0, "how many versions (required)")
	down.Flags().BoolVarP(&m.yes, "yes", "y", false, "do not ask")
	state := &cobra.Command{
		Use:   "status",
		Short: "Prints the version of the schema",
		Long: `Prints the version of the schema and the versions that this build knows. The database
is not changed.`,
		Args: noArguments,
		RunE: patiently(m.status),
	}
	cmd.AddCommand(up, down, state)
}

// patiently makes a command say what it may be waiting for when it takes longer than a second.
func patiently(run func(*cobra.Command) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		notice := time.AfterFunc(time.Second, func() {
			cmd.PrintErrln("Still at work. A database that another process has locked is waited for, up to a minute.")
		})
		defer notice.Stop()
		return run(cmd)
	}
}

// dsn is the database that the flag or the environment names, or else the one of serve.
func (m *migration) dsn() string {
	if m.database != "" {
		return m.database
	}
	if dsn := os.Getenv(envDSN); dsn != "" {
		return dsn
	}
	return "sqlite://" + defaultDatabase()
}

func (m *migration) up(cmd *cobra.Command) error {
	if m.steps < 0 {
		return errors.New("--steps: must be a number from 0, which is all")
	}
	s, err := storage.MigrateUp(cmd.Context(), m.dsn(), m.steps)
	if err != nil {
		return err
	}
	return printVersion(cmd.OutOrStdout(), &s)
}

// confirmDown lets the user say whether data may be lost.
func (m *migration) confirmDown(cmd *cobra.Command) error {
	if m.yes && m.steps > 0 {
		return nil
	}
	s, err := storage.ReadSchema(cmd.Context(), m.dsn())
	switch {
	case err != nil:
		return err
	case m.steps < 1:
		return fmt.Errorf("going back loses data: say with --steps how many versions; the schema has version %d",
			s.Version)
	case !isTerminal(cmd.InOrStdin()):
		return errors.New("going back loses data: give --yes, as standard input is not a terminal that could be asked")
	}
	cmd.PrintErrf("The schema has version %d. Going back by %d loses the data that an older version cannot hold. "+
		"Go on? [y/N] ", s.Version, m.steps)
	return confirmed(cmd.InOrStdin())
}

// confirmed reads an answer; all but yes is no.
func confirmed(in io.Reader) error {
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return errors.New("nothing has been changed")
	}
}

func (m *migration) down(cmd *cobra.Command) error {
	s, err := storage.MigrateDown(cmd.Context(), m.dsn(), m.steps)
	if err != nil {
		return err
	}
	return printVersion(cmd.OutOrStdout(), &s)
}

func (m *migration) status(cmd *cobra.Command) error {
	s, err := storage.ReadSchema(cmd.Context(), m.dsn())
	if err != nil {
		return err
	}
	rows := make([][]string, len(s.Versions))
	for i, v := range s.Versions {
		state := "pending"
		if v.Applied {
			state = "applied"
		}
		rows[i] = []string{strconv.FormatInt(v.Version, 10), v.Name, state}
	}
	w := cmd.OutOrStdout()
	if err := printRows(w, []string{"VERSION", "NAME", "STATE"}, rows); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return printVersion(w, &s)
}

// printVersion prints the version of the schema in a line.
func printVersion(w io.Writer, s *storage.Schema) error {
	text := "the newest"
	switch {
	case s.Version == 0:
		text = "no schema"
	case s.Version < s.Newest:
		text = fmt.Sprintf("the newest is %d", s.Newest)
	case s.Check() != nil:
		text = fmt.Sprintf("newer than this build, which knows versions up to %d", s.Newest)
	case s.IsNewer():
		text = fmt.Sprintf("newer than this build, which knows versions up to %d and may run on it", s.Newest)
	}
	_, err := fmt.Fprintf(w, "version %d (%s)\n", s.Version, text)
	return err
}
