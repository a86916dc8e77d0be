package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// newKeyFlags are the flags of a key that is not there yet.
type newKeyFlags struct {
	keyFlags
	actor, ttl, requestID string
	public                bool
}

func (n *newKeyFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&n.actor, "actor", "", "who uses the key, such as a user id (required)")
	flags.StringVar(&n.ttl, "ttl", "", "how long it is valid, such as 720h, 90d or 1y6mo")
	flags.BoolVar(&n.public, flagPublic, false, "the key may appear in public code, such as a web page")
	flags.StringVar(&n.requestID, "request-id", "", "makes the call idempotent; at most 36 characters")
	n.keyFlags.add(cmd)
	_ = cmd.MarkFlagRequired("actor")
}

// request makes the request for a key of a name.
func (n *newKeyFlags) request(cmd *cobra.Command, name string) (*client.IssueRequest, error) {
	r := &client.IssueRequest{
		Name: name, ActorID: n.actor, Scopes: n.scopes, TTL: n.ttl, RequestID: n.requestID,
	}
	var err error
	if r.Metadata, err = n.object(); err != nil {
		return nil, err
	}
	if r.RateLimitPolicy, err = n.newPolicy(cmd); err != nil {
		return nil, err
	}
	if len(n.cidrs) > 0 {
		r.IPRestriction = &client.IPRestriction{AllowedCIDRs: n.cidrs}
	}
	if n.public {
		r.Visibility = client.KeyVisibilityPublic
	}
	return r, nil
}

func newIssue(o *options) *cobra.Command {
	var n newKeyFlags
	cmd := &cobra.Command{
		Use:   "issue NAME --actor ACTOR",
		Short: "Makes a new key and prints its secret, once",
		Long: `Makes a new key and prints its secret. The secret is kept nowhere: it cannot be
read again. With --quiet the secret is all that is printed, so that it can be
taken into a variable:

  SECRET=$(talos keys issue ci --actor deploy-bot --quiet)

Without --ttl the server's default holds. A request id makes the call
idempotent: the second call with the same one returns the same key without its
secret (with --quiet, that is an error). Unless the secret was kept the first
time, rotate the key, or revoke it and issue another one.`,
		Args:              exactly("a NAME"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := n.request(cmd, args[0])
			if err != nil {
				return err
			}
			return issue(cmd, o, r)
		},
	}
	n.add(cmd)
	return cmd
}

func issue(cmd *cobra.Command, o *options, r *client.IssueRequest) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	defer c.Close()
	var answer json.RawMessage
	out, err := c.Issue(cmd.Context(), *r, client.Raw(&answer))
	lost, repeated := errors.AsType[*client.SecretLostError](err)
	if err != nil && (!repeated || o.quiet && o.format == formatTable) {
		return o.failed(err)
	}
	if repeated {
		out = &client.IssueResponse{IssuedAPIKey: lost.Key}
	}
	if err := o.printSecret(cmd, answer, &out.IssuedAPIKey, out.Secret); err != nil {
		return err
	}
	if repeated {
		o.hint(cmd, printable("No secret: "+lost.Error()+"."))
	} else {
		o.hint(cmd, secretHint)
	}
	return nil
}

const secretHint = "The secret is shown this once. Keep it now."

// printSecret prints a new key with its secret, which is on a line of its own.
func (o *options) printSecret(cmd *cobra.Command, answer json.RawMessage, k *client.Key, secret string) error {
	return o.output(cmd, answer, secret, func(w io.Writer) error {
		if err := printKey(w, k); err != nil || secret == "" {
			return err
		}
		_, err := fmt.Fprintf(w, "\n%s\n", printable(secret))
		return err
	})
}
