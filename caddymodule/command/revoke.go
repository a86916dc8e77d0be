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

// reasonPrefix is what the API writes before the words that the flags take.
const reasonPrefix = "REVOCATION_REASON_"

// holderReasons are the words for the reasons that a key's holder may give. An operator may give operatorReasons.
var (
	holderReasons   = []string{"key_compromise", "affiliation_changed", "superseded"}
	operatorReasons = append(holderReasons[:len(holderReasons):len(holderReasons)], "privilege_withdrawn")
)

// revocationReason is the reason for a revocation as a flag.
type revocationReason struct {
	value client.RevocationReason
	known []string
}

// String, Set and Type make it a flag value.
func (r *revocationReason) String() string {
	return strings.ToLower(strings.TrimPrefix(string(r.value), reasonPrefix))
}

// Set takes one of the words, in either case, with or without the API's prefix.
func (r *revocationReason) Set(s string) error {
	s = strings.ToLower(strings.TrimPrefix(strings.ToUpper(s), reasonPrefix))
	for _, known := range r.known {
		if s == known {
			r.value = client.RevocationReason(reasonPrefix + strings.ToUpper(s))
			return nil
		}
	}
	return errors.New("want " + strings.Join(r.known, ", "))
}

// Type is what help calls the value.
func (r *revocationReason) Type() string { return "reason" }

func addReason(cmd *cobra.Command, r *revocationReason) {
	cmd.Flags().Var(r, "reason", strings.Join(r.known, ", "))
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(r.known, cobra.ShellCompDirectiveNoFileComp))
}

func newRevoke(o *options, kind client.Kind) *cobra.Command {
	reason := &revocationReason{known: operatorReasons}
	var text string
	cmd := &cobra.Command{
		Use:   "revoke KEY_ID",
		Short: "Revokes a key, for good",
		Long: `Revokes a key. When the command has succeeded, the server admits the key no more.
A revocation cannot be taken back.`,
		Args: exactly("a KEY_ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkKeyID(args[0]); err != nil {
				return err
			}
			if text != "" && reason.value != client.RevocationReasonPrivilegeWithdrawn {
				return errors.New("--reason-text goes with --reason privilege_withdrawn only")
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			defer c.Close()
			answer, err := c.Revoke(cmd.Context(), kind, args[0],
				client.RevokeRequest{Reason: reason.value, Description: text})
			if err != nil {
				return failed(err)
			}
			return o.printDone(cmd, answer, "revoked "+args[0])
		},
	}
	addReason(cmd, reason)
	cmd.Flags().StringVar(&text, "reason-text", "", "the reason in words, with privilege_withdrawn")
	return cmd
}

func newSelfRevoke(o *options) *cobra.Command {
	reason := &revocationReason{known: holderReasons}
	cmd := &cobra.Command{
		Use:   "self-revoke CREDENTIAL|-",
		Short: "Revokes the key behind a credential, for good",
		Long: `Revokes the key behind a credential. Whoever holds the credential may do this; it
works on the public surface too. A revocation cannot be taken back.`,
		Args: exactly("a CREDENTIAL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			credential, err := readCredential(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			defer c.Close()
			answer, err := c.SelfRevoke(cmd.Context(), credential, reason.value)
			if err != nil {
				return failed(err, credential)
			}
			return o.printDone(cmd, answer, "revoked")
		},
	}
	addReason(cmd, reason)
	return cmd
}

// printDone prints the answer of a call that has nothing to tell but that it succeeded.
func (o *options) printDone(cmd *cobra.Command, answer json.RawMessage, done string) error {
	return o.print(cmd, answer, "", func(w io.Writer) error {
		_, err := fmt.Fprintln(w, done)
		return err
	})
}
