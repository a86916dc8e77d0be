package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// reasonPrefix is what the API writes before the words that the flags take.
const reasonPrefix = "REVOCATION_REASON_"

// holderReasons are the words for the reasons that a key's holder may give. An operator may give operatorReasons.
var (
	holderReasons   = []string{"key_compromise", "affiliation_changed", "superseded"}
	operatorReasons = append(holderReasons[:len(holderReasons):len(holderReasons)], "privilege_withdrawn")
)

// newReason is the reason for a revocation as a flag.
func newReason(words []string) *choice {
	return &choice{kind: "reason", prefix: reasonPrefix, words: words}
}

func newRevoke(o *options, kind client.Kind) *cobra.Command {
	reason := newReason(operatorReasons)
	var text string
	var lineage bool
	cmd := &cobra.Command{
		Use:   "revoke KEY_ID",
		Short: "Revokes a key, for good",
		Long: `Revokes a key. When the command has succeeded, the server admits the key no more.
A revocation cannot be taken back; suspend can. With --lineage the keys that it was
rotated from and to are revoked with it, in one step.`,
		Args:              exactly("a KEY_ID"),
		ValidArgsFunction: o.completeKeyIDs(kind),
		RunE: o.onKey(func(cmd *cobra.Command, c *client.Client, keyID string) error {
			if text != "" && reason.value() != string(client.RevocationReasonPrivilegeWithdrawn) {
				return errors.New("--reason-text goes with --reason privilege_withdrawn only")
			}
			var answer json.RawMessage
			err := c.Revoke(cmd.Context(), client.RevokeRequest{
				Kind: kind, KeyID: keyID, Reason: client.RevocationReason(reason.value()), Description: text,
				Lineage: lineage,
			}, client.Raw(&answer))
			if err == nil {
				err = recognise(answer)
			}
			if err != nil {
				return o.failed(err)
			}
			done := "revoked " + keyID
			if lineage {
				done += ", its predecessors and its successors"
			}
			return o.printDone(cmd, answer, done)
		}),
	}
	reason.add(cmd, "reason", "")
	if kind != client.Imported {
		cmd.Flags().BoolVar(&lineage, "lineage", false, "the keys that it was rotated from and to, too")
	}
	cmd.Flags().StringVar(&text, "reason-text", "", "the reason in words, with privilege_withdrawn")
	return cmd
}

func newSelfRevoke(o *options) *cobra.Command {
	reason := newReason(holderReasons)
	cmd := &cobra.Command{
		Use:   "self-revoke CREDENTIAL|-",
		Short: "Revokes the key behind a credential, for good",
		Long: `Revokes the key behind a credential. Whoever holds the credential may do this; it
works on the public surface too. A revocation cannot be taken back.`,
		Args:              exactly("a CREDENTIAL"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: o.onCredential(func(cmd *cobra.Command, c *client.Client, credential string) error {
			var answer json.RawMessage
			err := c.SelfRevoke(cmd.Context(), client.SelfRevokeRequest{
				Credential: credential, Reason: client.RevocationReason(reason.value()),
			}, client.Raw(&answer))
			if err == nil {
				err = recognise(answer)
			}
			if err != nil {
				return o.failed(err, credential)
			}
			return o.printDone(cmd, answer, "revoked")
		}),
	}
	reason.add(cmd, "reason", "")
	return cmd
}

// printDone prints the answer of a call that has nothing to tell but that it succeeded.
func (o *options) printDone(cmd *cobra.Command, answer json.RawMessage, done string) error {
	return o.output(cmd, answer, "", func(w io.Writer) error {
		_, err := fmt.Fprintln(w, done)
		return err
	})
}
