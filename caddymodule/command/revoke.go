package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
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
	var text, waitText string
	var wait time.Duration
	var lineage bool
	cmd := &cobra.Command{
		Use:   "revoke KEY_ID",
		Short: "Revokes a key, for good",
		Long: `Revokes a key. When the command has succeeded, the server admits the key no more.
A revocation cannot be taken back; suspend can. With --lineage the keys that it was
rotated from and to are revoked with it, in one step.

With --wait it also waits until the edges refuse the key: the sidecars of the server,
and the other processes on its database. The exit status is 4 when some have not
confirmed that in time. The key is revoked all the same: they refuse it as soon as
they are connected again, or when their cached verdicts expire.`,
		Args:              exactly("a KEY_ID"),
		ValidArgsFunction: o.completeKeyIDs(kind),
		PreRunE: func(*cobra.Command, []string) (err error) {
			wait, err = parseWait(waitText)
			o.timeout += wait
			return err
		},
		RunE: o.onKey(func(cmd *cobra.Command, c *client.Client, keyID string) error {
			if text != "" && reason.value() != string(client.RevocationReasonPrivilegeWithdrawn) {
				return errors.New("--reason-text goes with --reason privilege_withdrawn only")
			}
			var answer json.RawMessage
			options := []client.CallOption{client.Raw(&answer)}
			var confirmation client.Confirmation
			if wait > 0 {
				options = append(options, client.Wait(wait, &confirmation))
			}
			var revoked []string
			if lineage {
				options = append(options, client.ChangedKeys(&revoked))
			}
			began := time.Now()
			err := c.Revoke(cmd.Context(), client.RevokeRequest{
				Kind: kind, KeyID: keyID, Reason: client.RevocationReason(reason.value()), Description: text,
				Lineage: lineage,
			}, options...)
			took := time.Since(began)
			if err == nil {
				err = recognise(answer)
			}
			if err != nil {
				return o.failed(err)
			}
			done := "revoked " + keyID
			switch {
			case lineage && len(revoked) == 0:
				return errors.New("the server does not know lineages: it has revoked this key, and neither its " +
					"predecessors nor its successors")
			case lineage:
				done += ", its predecessors and its successors"
			}
			if err := o.printDone(cmd, answer, done); err != nil || wait == 0 {
				return err
			}
			return o.printConfirmation(cmd, &confirmation, took)
		}),
	}
	reason.add(cmd, "reason", "")
	if kind != client.Imported {
		cmd.Flags().BoolVar(&lineage, "lineage", false, "the keys that it was rotated from and to, too")
	}
	cmd.Flags().StringVar(&text, "reason-text", "", "the reason in words, with privilege_withdrawn")
	cmd.Flags().StringVar(&waitText, "wait", "", "wait for the edges to refuse the key: a `duration` up to 30s")
	return cmd
}

// parseWait reads how long a change waits for the edges. Empty is not at all.
func parseWait(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	wait, err := core.ParseDuration(text)
	if err != nil || wait <= 0 || wait > maxWait {
		return 0, errors.New("--wait: must be a duration of at most 30s, such as 5s")
	}
	return wait, nil
}

// maxWait is how long a server waits for the edges at most.
const maxWait = 30 * time.Second

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
