package command

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// newImported makes the commands for keys that were made elsewhere.
func newImported(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "imported",
		Short: "Commands for keys that were made elsewhere",
		Long: `Commands for keys that were made elsewhere and are to be verified here. The server
keeps a hash of such a key and not the key, so it can be verified, but not read.`,
	}
	group(cmd)
	cmd.AddCommand(newImport(o), newBatchImport(o), newGet(o, client.Imported), newList(o, client.Imported),
		newUpdate(o, client.Imported), newRevoke(o, client.Imported), newSuspend(o, client.Imported),
		newResume(o, client.Imported), newDelete(o))
	return cmd
}

func newImport(o *options) *cobra.Command {
	var n newKeyFlags
	var rawKey string
	cmd := &cobra.Command{
		Use:   "import NAME --raw-key KEY|- --actor ACTOR",
		Short: "Imports a key that was made elsewhere",
		Long: `Imports a key that was made elsewhere: from then on the server verifies it. With
--raw-key - it is read from standard input. With --quiet the key id is all that is
printed. Without --ttl the server's default holds.`,
		Args:              exactly("a NAME"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := n.request(cmd, args[0])
			if err != nil {
				return err
			}
			raw, err := readCredential(rawKey, cmd.InOrStdin())
			if err != nil {
				return err
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			defer c.Close()
			var answer json.RawMessage
			key, err := c.Import(cmd.Context(),
				client.ImportRequest{RawKey: raw, IssueRequest: *r}, client.Raw(&answer))
			if err != nil {
				return o.failed(err, raw)
			}
			return o.output(cmd, answer, key.KeyID, func(w io.Writer) error { return printKey(w, key) })
		},
	}
	cmd.Flags().StringVar(&rawKey, "raw-key", "", "the key itself, or - (required)")
	_ = cmd.MarkFlagRequired("raw-key")
	n.add(cmd)
	return cmd
}

func newDelete(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "delete KEY_ID",
		Short: "Removes an imported key and its record, for good",
		Long: `Removes an imported key and its record. When the command has succeeded, the server
admits the key no more. Other than a revoked key, a deleted one can be imported again.`,
		Args:              exactly("a KEY_ID"),
		ValidArgsFunction: o.completeKeyIDs(client.Imported),
		RunE: o.onKey(func(cmd *cobra.Command, c *client.Client, keyID string) error {
			if client.KindOf(keyID) != client.Imported {
				return errors.New("an issued key cannot be deleted, only revoked: talos keys revoke " + keyID)
			}
			var answer json.RawMessage
			err := c.DeleteImported(cmd.Context(), keyID, client.Raw(&answer))
			if err == nil {
				err = recognise(answer)
			}
			if err != nil {
				return o.failed(err)
			}
			return o.printDone(cmd, answer, "deleted "+keyID)
		}),
	}
}
