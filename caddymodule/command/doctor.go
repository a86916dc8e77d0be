package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/caddymodule/doctor"
)

const doctorShort = "Tells what is wrong with a set-up"

// setDoctor makes cmd the command doctor.
func setDoctor(cmd *cobra.Command) {
	var set setupFlags
	form := formatTable
	cmd.Use = "doctor"
	cmd.Short = doctorShort
	cmd.Long = `Tells what is wrong with a set-up, why that matters, and what to do: the configuration,
the database, the secrets, and this machine. The set-up is the one of --config, else
the one that "talos serve" runs with this environment.

Nothing is changed, no file is made, and no secret is shown. The database is opened
read-only, beside a node that runs. Free ports are listened on for a moment, the apps
behind gates are connected to, and the upstream of a sidecar is asked about a made-up
credential. Run it as the user that runs the node.

The exit status is 1 when an error was found, else 0. The checks:

` + checkList()
	cmd.Example = `  $ talos doctor
  $ talos doctor --config /etc/talos/Caddyfile --format json | jq '.findings[].what'`
	cmd.Args = noArguments
	set.add(cmd)
	cmd.Flags().VarP(&form, "format", "o", strings.Join(formats, ", "))
	completeValues(cmd, "format", formats...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if set.config == "" {
			if _, err := os.Stat("Caddyfile"); !errors.Is(err, fs.ErrNotExist) {
				cmd.PrintErrln("This is about what `talos serve` runs; for the Caddyfile here: --config Caddyfile")
			}
		}
		s, refused := set.load(cmd)
		report := doctor.Run(cmd.Context(), s, refused)
		if err := printReport(cmd.OutOrStdout(), form, report); err != nil {
			return err
		}
		if report.Worst() != doctor.Error {
			return nil
		}
		cmd.SilenceErrors = true // the report has been printed; the exit status is 1
		return errors.New("the set-up has errors")
	}
}

// checkList lists the checks for the help text.
func checkList() string {
	var b strings.Builder
	for _, c := range doctor.Checks() {
		fmt.Fprintf(&b, "  %-12s %s\n", c.Name, c.About)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func printReport(w io.Writer, form format, r *doctor.Report) error {
	if form != formatTable {
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return printAnswer(w, form, text)
	}
	var b strings.Builder
	count := map[doctor.Severity]int{}
	for i := range r.Findings {
		f := &r.Findings[i]
		count[f.Severity]++
		fmt.Fprintf(&b, "%-8s %s: %s\n", strings.ToUpper(string(f.Severity)), f.Check, printable(f.What))
		fmt.Fprintf(&b, "%8s why: %s\n%8s fix: %s\n", "", printable(f.Why), "", printable(f.Fix))
	}
	var good []string
	for _, o := range r.Checks {
		switch {
		case o.Skipped != "":
			fmt.Fprintf(&b, "%-8s %s: %s\n", "skipped", o.Check, o.Skipped)
		case o.Findings == 0:
			good = append(good, o.Check)
		}
	}
	if len(good) > 0 {
		fmt.Fprintf(&b, "%-8s %s\n", "ok", strings.Join(good, ", "))
	}
	fmt.Fprintf(&b, "%s, %s, %s\n", plural(count[doctor.Error], "error"), plural(count[doctor.Warning], "warning"),
		plural(count[doctor.Note], "note"))
	_, err := io.WriteString(w, b.String())
	return err
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
