package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// defaultEndpoint is where `talos serve` listens.
const defaultEndpoint = "http://localhost:4420"

// options are the flags that all keys commands share.
type options struct {
	endpoint string
	format   format
	quiet    bool
}

// add adds the flags to a command's.
func (o *options) add(cmd *cobra.Command, flags *pflag.FlagSet) {
	flags.StringVarP(&o.endpoint, "endpoint", "e", "",
		"`URL` of the server (default $TALOS_URL or "+defaultEndpoint+")")
	flags.Var(&o.format, "format", strings.Join(formats, ", "))
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "only the essential, and no hints")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

const keysShort = "Issues, imports, verifies and revokes API keys"

// keysLong is the manual.
const keysLong = `Issues, imports, verifies and revokes API keys by calling a server: the one at
--endpoint, else at $TALOS_URL, else at ` + defaultEndpoint + `. An endpoint is http://host:port,
https://host/path or unix:///path/of/the.sock.

Standard output holds the answer and nothing else; hints and errors go to
standard error. --format says how the answer looks:

  table        for people (the default)
  json         what the server wrote, for jq
  json-pretty  the same, indented
  yaml         the same as YAML

--quiet leaves out the hints. With --format table it also leaves all but one
thing of the answer: the secret (issue, rotate), the key id (import; list: one a
line), the status (get), true or false (verify; batch-verify: one a line), the token
(derive-token, attenuate), nothing (update, revoke, self-revoke, delete).

A credential given as - is read from standard input, and so is not in
the list of processes or in the shell's history.

Exit status: 0 success; 1 the call failed; 2 verify: the credential is not
valid.`

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
		newRotate(o), newRevoke(o, client.Issued))
	cmd.AddCommand(newIssue(o), newVerify(o), newBatchVerify(o), newDerive(o), newAttenuate(o),
		newRevoke(o, client.AnyKind), newSelfRevoke(o), issued, newImported(o))
}

// client makes a client of the server that the flags or the environment name.
func (o *options) client() (*client.Client, error) {
	endpoint := o.endpoint
	if endpoint == "" {
		endpoint = os.Getenv("TALOS_URL")
	}
	if endpoint == "" {
		endpoint = defaultEndpoint
	}
	return client.New(endpoint)
}

// action is what a command that calls the server does with its one argument.
type action func(cmd *cobra.Command, c *client.Client, arg string) error

// onKey runs f for a command whose argument is a key id.
func (o *options) onKey(f action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := checkKeyID(args[0]); err != nil {
			return err
		}
		return o.call(cmd, args[0], f)
	}
}

// onCredential runs f for a command whose argument is a credential, or stands for one on standard input.
func (o *options) onCredential(f action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		credential, err := readCredential(args[0], cmd.InOrStdin())
		if err != nil {
			return err
		}
		return o.call(cmd, credential, f)
	}
}

func (o *options) call(cmd *cobra.Command, arg string, f action) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(cmd, c, arg)
}

// hint tells a person something that is no part of the answer.
func (o *options) hint(cmd *cobra.Command, text string) {
	if !o.quiet {
		cmd.PrintErrln(text)
	}
}

// print prints an answer: the server's own, or with --format table what table prints, or with --quiet the essence.
func (o *options) print(cmd *cobra.Command, answer json.RawMessage, essence string, table func(io.Writer) error) error {
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

// failed makes the error of a call fit for a terminal: safe characters, a hint where nothing listens, and no credential
// even if the server repeated one.
func failed(err error, credentials ...string) error {
	text := err.Error()
	for _, c := range credentials {
		if c != "" {
			text = strings.ReplaceAll(text, c, "[credential]")
		}
	}
	text = printable(text)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		text += "; start a server with `talos serve`, or name another with --endpoint or TALOS_URL"
	}
	if e, ok := errors.AsType[*client.Error](err); ok && e.RetryAfter > 0 {
		text += fmt.Sprintf("; try again in %s", e.RetryAfter)
	}
	return errors.New(text)
}
