package command

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

func newGet(o *options, kind client.Kind) *cobra.Command {
	return &cobra.Command{
		Use:   "get KEY_ID",
		Short: "Prints a key's record",
		Long:  "Prints a key's record. The secret is no part of it. With --quiet: active, revoked or expired.",
		Args:  exactly("a KEY_ID"),
		RunE: o.onKey(func(cmd *cobra.Command, c *client.Client, keyID string) error {
			var answer json.RawMessage
			key, err := c.Get(cmd.Context(), client.GetRequest{Kind: kind, KeyID: keyID}, client.Raw(&answer))
			if err != nil {
				return failed(err)
			}
			return o.print(cmd, answer, status(key.Status), func(w io.Writer) error { return printKey(w, key) })
		}),
	}
}

// statusPrefix is what the API writes before the words for states.
const statusPrefix = "KEY_STATUS_"

func newList(o *options, kind client.Kind) *cobra.Command {
	var actor string
	in := &choice{kind: "status", prefix: statusPrefix, words: []string{"active", "revoked", "expired"}}
	r := client.ListRequest{Kind: kind}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists keys, in the order of their creation",
		Long: `Lists keys, a page at a time, in the order of their creation. A page that is not
the last one ends with a token, with which --page-token goes on: --format table
tells it on standard error, the other formats have it in next_page_token. With
--quiet: one key id on each line.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var terms []string
			if cmd.Flags().Changed("actor") {
				terms = append(terms, `actor_id="`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(actor)+`"`)
			}
			if in.word != "" {
				terms = append(terms, "status="+in.value())
			}
			r.Filter = strings.Join(terms, " AND ")
			return list(cmd, o, r)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&actor, "actor", "", "only the keys of this actor")
	in.add(cmd, "status", "only the keys that are ")
	flags.IntVar(&r.PageSize, "page-size", 0, "how many keys a page has (default 50, at most 1000)")
	flags.StringVar(&r.PageToken, "page-token", "", "where to go on: what the page before named")
	return cmd
}

func list(cmd *cobra.Command, o *options, r client.ListRequest) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	defer c.Close()
	var answer json.RawMessage
	page, err := c.ListPage(cmd.Context(), r, client.Raw(&answer))
	if err != nil {
		return failed(err)
	}
	ids := make([]string, len(page.Keys))
	for i := range page.Keys {
		ids[i] = printable(page.Keys[i].KeyID)
	}
	err = o.print(cmd, answer, strings.Join(ids, "\n"), func(w io.Writer) error { return printKeys(w, page.Keys) })
	if err == nil && page.NextPageToken != "" && o.format == formatTable {
		o.hint(cmd, "There are more: --page-token "+printable(page.NextPageToken))
	}
	return err
}

// printKeys prints keys as a table.
func printKeys(w io.Writer, keys []client.Key) error {
	rows := make([][]string, len(keys))
	for i := range keys {
		k := &keys[i]
		rows[i] = []string{
			k.KeyID, k.Name, k.ActorID, strings.Join(k.Scopes, " "), status(k.Status), expiry(k.ExpireTime),
		}
	}
	return printRows(w, []string{"KEY ID", "NAME", "ACTOR", "SCOPES", "STATUS", "EXPIRES"}, rows)
}

// printKey prints a key's record as a table.
func printKey(w io.Writer, k *client.Key) error {
	var cidrs string
	if k.IPRestriction != nil {
		cidrs = strings.Join(k.IPRestriction.AllowedCIDRs, " ")
	}
	state := status(k.Status)
	if k.RevocationReason != "" && k.RevocationReason != client.RevocationReasonUnspecified {
		state += ": " + word(string(k.RevocationReason), reasonPrefix)
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
		field{"RATE LIMIT", printPolicy(k.RateLimitPolicy)},
		field{"STATUS", state},
		field{"EXPIRES", expiry(k.ExpireTime)},
	)
}

func status(s client.KeyStatus) string { return word(string(s), statusPrefix) }
