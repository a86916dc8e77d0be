package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// exitInvalid is the exit status of verify for a credential that is not valid. A call that failed is 1: that nobody can
// say is not the same as no.
const exitInvalid = 2

func newVerify(o *options) *cobra.Command {
	var noCache bool
	cmd := &cobra.Command{
		Use:   "verify CREDENTIAL|-",
		Short: "Says whether a credential is valid, and whose it is",
		Long: `Says whether a credential is valid, and whose it is. The exit status is 0 when it
is valid, 2 when it is not, and 1 when the server could not be asked. With
--quiet it prints true or false.`,
		Args:              exactly("a CREDENTIAL"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: o.onCredential(func(cmd *cobra.Command, c *client.Client, credential string) error {
			var answer json.RawMessage
			v, err := c.Verify(cmd.Context(), credential, callOptions(noCache, &answer)...)
			if err != nil {
				return o.failed(err, credential)
			}
			err = o.output(cmd, answer, strconv.FormatBool(v.IsValid), func(w io.Writer) error {
				return printVerdict(w, v)
			})
			if err != nil || v.IsValid {
				return err
			}
			return exit(cmd, exitInvalid)
		}),
	}
	addNoCache(cmd, &noCache)
	return cmd
}

func newBatchVerify(o *options) *cobra.Command {
	var noCache bool
	cmd := &cobra.Command{
		Use:   "batch-verify CREDENTIAL…|-",
		Short: "Says which of up to 100 credentials are valid",
		Long: `Says which of up to 100 credentials are valid, with one call. With - there is one
credential on each line of standard input. The results are in the order of the
credentials, which are not repeated. The exit status is 0 when the call
succeeded, whatever the results. With --quiet it prints one line of true or
false for each.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			credentials, err := readCredentials(args, cmd.InOrStdin())
			if err != nil {
				return err
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			defer c.Close()
			var answer json.RawMessage
			results, err := c.BatchVerify(cmd.Context(), credentials, callOptions(noCache, &answer)...)
			if err != nil {
				return o.failed(err, credentials...)
			}
			words := make([]string, len(results))
			for i := range results {
				words[i] = strconv.FormatBool(results[i].IsValid)
			}
			return o.output(cmd, answer, strings.Join(words, "\n"), func(w io.Writer) error {
				return printVerdicts(w, results)
			})
		},
	}
	addNoCache(cmd, &noCache)
	return cmd
}

func addNoCache(cmd *cobra.Command, noCache *bool) {
	cmd.Flags().BoolVar(noCache, "no-cache", false, "have the server read the key anew")
}

func callOptions(noCache bool, answer *json.RawMessage) []client.CallOption {
	opts := []client.CallOption{client.Raw(answer)}
	if noCache {
		opts = append(opts, client.NoCache())
	}
	return opts
}

// printVerdict prints one verdict as a table.
func printVerdict(w io.Writer, v *client.VerifyResponse) error {
	when := timesFor(w)
	fields := []field{
		{"VALID", yesNo(v.IsValid)},
		{"REASON", why(v)},
		{"KEY ID", v.KeyID},
		{"ACTOR", v.ActorID},
		{"SCOPES", strings.Join(v.Scopes, " ")},
		{"METADATA", string(v.Metadata)},
		{"VISIBILITY", word(string(v.Visibility), visibilityPrefix)},
		{"STATUS", status(v.Status)},
	}
	if v.Status != "" { // the key is known
		fields = append(fields, field{"EXPIRES", when.expiry(v.ExpireTime)})
	}
	return printFields(w, append(fields, field{"RATE LIMIT", remaining(v, when)}, field{"ISSUER", v.Issuer})...)
}

// remaining prints a key's rate limit and what is left of it.
func remaining(v *client.VerifyResponse, when times) string {
	text := printPolicy(v.RateLimitPolicy)
	if v.RateLimitRemaining != nil {
		text += fmt.Sprintf(", %d left", *v.RateLimitRemaining)
	}
	if !v.RateLimitResetTime.IsZero() {
		text += ", all of it again: " + when.at(v.RateLimitResetTime)
	}
	return strings.TrimPrefix(text, ", ")
}

// printVerdicts prints several verdicts, numbered from 1 as the credentials were given.
func printVerdicts(w io.Writer, results []client.VerifyResponse) error {
	when := timesFor(w)
	rows := make([][]string, len(results))
	for i := range results {
		v := &results[i]
		end := ""
		if v.Status != "" {
			end = when.expiry(v.ExpireTime)
		}
		rows[i] = []string{
			strconv.Itoa(i + 1), yesNo(v.IsValid), v.KeyID, v.ActorID, strings.Join(v.Scopes, " "), end, why(v),
		}
	}
	return printRows(w, []string{"#", "VALID", "KEY ID", "ACTOR", "SCOPES", "EXPIRES", "REASON"}, rows)
}

// why says why a credential is not valid.
func why(v *client.VerifyResponse) string {
	if v.IsValid {
		return ""
	}
	return word(string(v.ErrorCode), "VERIFICATION_ERROR_")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
