package command

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// completeValues completes the values of a flag that takes one of some words.
func completeValues(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completionTime bounds the call that completes key ids: a person waits for it.
const completionTime = time.Second

// completeKeyIDs completes key ids with those of active keys, of a kind or of both.
func (o *options) completeKeyIDs(kind client.Kind) cobra.CompletionFunc {
	return o.completeKeys(kind, client.KeyStatusActive, func(*client.Key) bool { return true })
}

// completeSuspended completes key ids with those of suspended keys, of a kind or of both.
func (o *options) completeSuspended(kind client.Kind) cobra.CompletionFunc {
	return o.completeKeys(kind, client.KeyStatusRevoked, isSuspended)
}

// completeKeys completes key ids with those of some keys of the first page of a state. Where the server cannot say, it
// completes nothing and reports nothing.
func (o *options) completeKeys(
	kind client.Kind, state client.KeyStatus, some func(*client.Key) bool,
) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, completionTime)
		defer cancel()
		c, err := o.clientWithin(completionTime)
		if err != nil || len(args) > 0 {
			return nil, directive
		}
		defer c.Close()
		kinds := []client.Kind{kind}
		if kind == client.AnyKind {
			kinds = []client.Kind{client.Issued, client.Imported}
		}
		var ids []cobra.Completion
		for _, k := range kinds {
			out, err := c.ListPage(ctx, client.ListRequest{
				Kind: k, PageSize: maxPage, Filter: "status=" + string(state),
			})
			if err != nil {
				continue
			}
			for i := range out.Keys {
				key := &out.Keys[i]
				// A shell reads the list: nothing but a key id may be in the place of one.
				if some(key) && keyID.MatchString(key.KeyID) && strings.HasPrefix(key.KeyID, begun) {
					ids = append(ids, cobra.CompletionWithDesc(key.KeyID, printable(key.Name+", "+key.ActorID)))
				}
			}
		}
		return ids, directive
	}
}
