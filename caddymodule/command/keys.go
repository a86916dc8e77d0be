package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// envEndpoint is the variable that names the server where --endpoint does not.
const envEndpoint = "TALOS_URL"

// options are the flags that all commands share which call a server.
type options struct {
	endpoint string
	timeout  time.Duration
	format   format
	quiet    bool
}

// add adds the flags to a command's.
func (o *options) add(cmd *cobra.Command, flags *pflag.FlagSet) {
	o.addServer(flags)
	o.addFormat(cmd, flags)
}

// addServer adds the flags that say how a server is called.
func (o *options) addServer(flags *pflag.FlagSet) {
	flags.StringVarP(&o.endpoint, "endpoint", "e", "",
		"`URL` of the server (default $"+envEndpoint+" or "+defaultEndpoint+")")
	flags.DurationVar(&o.timeout, "timeout", client.DefaultTimeout, "how long one call may take")
}

// addFormat adds the flags that say what is printed.
func (o *options) addFormat(cmd *cobra.Command, flags *pflag.FlagSet) {
	flags.VarP(&o.format, "format", "o", strings.Join(formats, ", "))
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "only the essential, and no hints")
	completeValues(cmd, "format", formats...)
}

const keysShort = "Issues, imports, verifies and revokes API keys"

// keysLong is the manual.
const keysLong = `Issues, imports, verifies and revokes API keys by calling a server: the one at
--endpoint, else at $TALOS_URL, else at ` + defaultEndpoint + `. An endpoint is http://host:port,
https://host/path, unix:///path/of/the.sock, or localhost:port.

list, get, update, rotate and delete take issued keys; get, update and delete take
imported ones too, and so do revoke, suspend and resume. The groups issued and imported have the same commands for
one kind.

Standard output holds the answer and nothing else; hints and errors go to
standard error. --format says how the answer looks:

  table        for people (the default)
  json         what the server wrote, for jq
  json-pretty  the same, indented
  yaml         the same as YAML

--quiet leaves out the hints. With --format table it also leaves all but one
thing of the answer: the secret (issue, rotate), the key id (import; list: one a
line), the status (get), true or false (verify; batch-verify: one a line), the token
(derive-token, attenuate), nothing (update, revoke, suspend, resume, self-revoke,
delete).

A credential given as - is read from standard input, and so is not in
the list of processes or in the shell's history.

Exit status: 0 success; 1 the call failed, or the answer was not the API's;
2 verify: the credential is not valid; 3 list --quiet: there are more keys than were
printed; 4 revoke --wait: some edges have not confirmed that they refuse the key.`

// setKeys makes cmd the command keys.
func setKeys(cmd *cobra.Command) {
	o := &options{format: formatTable}
	cmd.Use = "keys"
	cmd.Short = keysShort
	cmd.Long = keysLong
	cmd.Example = `  $ talos keys issue ci --actor deploy-bot --scopes deploy:write --ttl 90d
  $ talos keys verify - <secret.txt
  $ talos keys revoke 0e0b1a3c-5f9f-4f57-8d8c-0f3a6c3f7a55 --reason key_compromise`
	group(cmd)
	o.add(cmd, cmd.PersistentFlags())

	issued := &cobra.Command{
		Use:   "issued",
		Short: "Commands for keys that the server issued",
		Long:  "Commands for keys that the server issued.",
	}
	group(issued)
	issued.AddCommand(newIssue(o), newGet(o, client.Issued), newList(o, client.Issued), newUpdate(o, client.Issued),
		newRotate(o), newRevoke(o, client.Issued), newSuspend(o, client.Issued), newResume(o, client.Issued))
	cmd.AddCommand(newIssue(o), newList(o, client.Issued), newGet(o, client.AnyKind), newUpdate(o, client.AnyKind),
		newRotate(o), newDelete(o), newExpiring(o), newVerify(o), newBatchVerify(o), newDerive(o),
		newAttenuate(o), newRevoke(o, client.AnyKind), newSelfRevoke(o), newSuspend(o, client.AnyKind),
		newResume(o, client.AnyKind), issued, newImported(o))
}

// hint tells a person something that is no part of the answer.
func (o *options) hint(cmd *cobra.Command, text string) {
	if !o.quiet {
		cmd.PrintErrln(text)
	}
}

// print prints an answer: the server's own, or with --format table what table prints, or with --quiet the essence.
func (o *options) output(
	cmd *cobra.Command, answer json.RawMessage, essence string, table func(io.Writer) error,
) error {
	w := cmd.OutOrStdout()
	switch {
	case o.format != formatTable:
		return printAnswer(w, o.format, answer)
	case o.quiet && essence == "":
		return nil
	case o.quiet:
		_, err := fmt.Fprintln(w, essence)
		return err
	default:
		return table(w)
	}
}
