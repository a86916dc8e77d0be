package command

import (
	"context"
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

func newSuspend(o *options, kind client.Kind) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suspend KEY_ID",
		Short: "Has a key refused until it is resumed",
		Long: `Has a key refused, like a revoked one, until it is resumed, and prints its record.
Tokens that were derived from it are refused with it. A suspended key can still be
revoked, for good. With --quiet nothing is printed.`,
		ValidArgsFunction: o.completeKeyIDs(kind),
	}
	o.setState(cmd, func(
		ctx context.Context, c *client.Client, keyID string, opts ...client.CallOption,
	) (*client.Key, error) {
		return c.Suspend(ctx, client.SuspendRequest{Kind: kind, KeyID: keyID}, opts...)
	})
	return cmd
}

func newResume(o *options, kind client.Kind) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume KEY_ID",
		Short: "Has a suspended key accepted again",
		Long: `Has a suspended key accepted again, and prints its record. It has the scopes, limits
and expiry that it had. A revoked key cannot be resumed. With --quiet nothing is
printed.`,
		ValidArgsFunction: o.completeSuspended(kind),
	}
	o.setState(cmd, func(
		ctx context.Context, c *client.Client, keyID string, opts ...client.CallOption,
	) (*client.Key, error) {
		return c.Resume(ctx, client.ResumeRequest{Kind: kind, KeyID: keyID}, opts...)
	})
	return cmd
}

// setState makes a command that changes the state of a key by a call and prints the key's record.
func (o *options) setState(cmd *cobra.Command, call func(
	context.Context, *client.Client, string, ...client.CallOption,
) (*client.Key, error)) {
	cmd.Args = exactly("a KEY_ID")
	cmd.RunE = o.onKey(func(cmd *cobra.Command, c *client.Client, keyID string) error {
		var answer json.RawMessage
		key, err := call(cmd.Context(), c, keyID, client.Raw(&answer))
		if err != nil {
			return o.failed(err)
		}
		return o.output(cmd, answer, "", func(w io.Writer) error { return printKey(w, key) })
	})
}
