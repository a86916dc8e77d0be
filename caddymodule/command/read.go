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
		Long: "Prints a key's record. The secret is no part of it. " +
			"With --quiet: active, revoked, suspended or expired.",
		Args: exactly("a KEY_ID"),

		ValidArgsFunction: o.completeKeyIDs(kind),
		RunE: o.onKey(func(cmd *cobra.Command, c *client.Client, keyID string) error {
			var answer json.RawMessage
			key, err := c.Get(cmd.Context(), client.GetRequest{Kind: kind, KeyID: keyID}, client.Raw(&answer))
			if err != nil {
				return o.failed(err)
			}
			return o.output(cmd, answer, stateOf(key), func(w io.Writer) error { return printKey(w, key) })
		}),
	}
}

// What the API writes before the words for states and visibilities.
const (
	statusPrefix     = "KEY_STATUS_"
	visibilityPrefix = "KEY_VISIBILITY_"
)

// printKey prints a key's record as a table.
func printKey(w io.Writer, k *client.Key) error {
	var cidrs string
	if k.IPRestriction != nil {
		cidrs = strings.Join(k.IPRestriction.AllowedCIDRs, " ")
	}
	state := stateOf(k)
	if k.RevocationReason != "" && k.RevocationReason != client.RevocationReasonUnspecified {
		state += ": " + word(string(k.RevocationReason), reasonPrefix)
	}
	if k.RevocationDescription != "" {
		state += " (" + k.RevocationDescription + ")"
	}
	when := timesFor(w)
	return printFields(w,
		field{"KEY ID", k.KeyID},
		field{"NAME", k.Name},
		field{"ACTOR", k.ActorID},
		field{"SCOPES", strings.Join(k.Scopes, " ")},
		field{"METADATA", string(k.Metadata)},
		field{"VISIBILITY", word(string(k.Visibility), visibilityPrefix)},
		field{"ALLOWED FROM", cidrs},
		field{"RATE LIMIT", printPolicy(k.RateLimitPolicy)},
		field{"STATUS", state},
		field{"CREATED", when.at(k.CreateTime)},
		field{"EXPIRES", when.expiry(k.ExpireTime)},
		field{"LAST USED", when.at(k.LastUsedTime)},
		field{"SUSPENDED", when.at(k.SuspendTime)},
		field{"PREDECESSOR", k.PredecessorKeyID},
		field{"SUCCESSOR", k.SuccessorKeyID},
	)
}

// stateOf is the state of a key in a word. To programs that do not know of suspension, a suspended key is a revoked
// one.
func stateOf(k *client.Key) string {
	if isSuspended(k) {
		return "suspended"
	}
	return status(k.Status)
}

func isSuspended(k *client.Key) bool {
	return k.Status == client.KeyStatusRevoked && !k.SuspendTime.IsZero()
}

func status(s client.KeyStatus) string { return word(string(s), statusPrefix) }
