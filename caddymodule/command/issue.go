package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

func newIssue(o *options) *cobra.Command {
	var r client.IssueRequest
	var metadata string
	var cidrs []string
	var public bool
	cmd := &cobra.Command{
		Use:   "issue NAME --actor ACTOR",
		Short: "Makes a new key and prints its secret, once",
		Long: `Makes a new key and prints its secret. The secret is kept nowhere: it cannot be
read again. With --quiet the secret is all that is printed, so that it can be
taken into a variable:

  SECRET=$(talos keys issue ci --actor deploy-bot --quiet)

Without --ttl the server's default holds. A request id makes the call
idempotent: the second call with the same one returns the same key without its
secret (with --quiet, that is an error).`,
		Args: exactly("a NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Name = args[0]
			if metadata != "" {
				if !json.Valid([]byte(metadata)) {
					return errors.New("--metadata: want a JSON object")
				}
				r.Metadata = json.RawMessage(metadata)
			}
			if len(cidrs) > 0 {
				r.IPRestriction = &client.IPRestriction{AllowedCIDRs: cidrs}
			}
			if public {
				r.Visibility = client.KeyVisibilityPublic
			}
			return issue(cmd, o, &r)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&r.ActorID, "actor", "", "whom the key stands for (required)")
	flags.StringSliceVar(&r.Scopes, "scopes", nil, "what the key may do, separated by commas")
	flags.StringVar(&r.TTL, "ttl", "", "how long it is valid, such as 720h, 90d or 1y6mo")
	flags.StringVar(&metadata, "metadata", "", "a JSON object that the app behind the gate is shown")
	flags.StringSliceVar(&cidrs, "allowed-cidrs", nil, "from where it may be used, separated by commas")
	flags.BoolVar(&public, "public", false, "the key may stand in public code, such as a web page")
	flags.StringVar(&r.RequestID, "request-id", "", "makes the call idempotent; at most 36 characters")
	_ = cmd.MarkFlagRequired("actor")
	return cmd
}

func issue(cmd *cobra.Command, o *options, r *client.IssueRequest) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	defer c.Close()
	out, answer, err := c.Issue(cmd.Context(), r)
	if err != nil {
		return failed(err)
	}
	if out.Secret == "" && o.quiet && o.format == formatTable {
		return errors.New("the request id was used before: the key exists, and its secret was shown then")
	}
	err = o.print(cmd, answer, out.Secret, func(w io.Writer) error {
		if err := printKey(w, &out.IssuedAPIKey); err != nil || out.Secret == "" {
			return err
		}
		_, err := fmt.Fprintf(w, "\n%s\n", printable(out.Secret))
		return err
	})
	if err != nil {
		return err
	}
	if out.Secret == "" {
		o.hint(cmd, "The request id was used before: this is the key of that time. Its secret was shown then.")
	} else {
		o.hint(cmd, "The secret is shown this once. Keep it now.")
	}
	return nil
}

func newGetIssued(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "get KEY_ID",
		Short: "Prints a key's record",
		Long:  "Prints a key's record. The secret is no part of it. With --quiet: active, revoked or expired.",
		Args:  exactly("a KEY_ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkKeyID(args[0]); err != nil {
				return err
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			defer c.Close()
			key, answer, err := c.GetIssued(cmd.Context(), args[0])
			if err != nil {
				return failed(err)
			}
			return o.print(cmd, answer, status(key.Status), func(w io.Writer) error { return printKey(w, key) })
		},
	}
}

// printKey prints a key's record as a table.
func printKey(w io.Writer, k *client.IssuedAPIKey) error {
	var cidrs string
	if k.IPRestriction != nil {
		cidrs = strings.Join(k.IPRestriction.AllowedCIDRs, " ")
	}
	state := status(k.Status)
	if k.RevocationReason != "" && k.RevocationReason != client.RevocationReasonUnspecified {
		state += ": " + word(string(k.RevocationReason), "REVOCATION_REASON_")
	}
	if k.RevocationDescription != "" {
		state += " (" + k.RevocationDescription + ")"
	}
	return printFields(w,
		field{"KEY ID", k.KeyID},
		field{"NAME", k.Name},
		field{"ACTOR", k.ActorID},
		field{"SCOPES", strings.Join(k.Scopes, " ")},
		field{"METADATA", string(k.Metadata)},
		field{"VISIBILITY", word(string(k.Visibility), "KEY_VISIBILITY_")},
		field{"ALLOWED FROM", cidrs},
		field{"STATUS", state},
		field{"EXPIRES", expiry(k.ExpireTime)},
	)
}

func status(s client.KeyStatus) string { return word(string(s), "KEY_STATUS_") }
