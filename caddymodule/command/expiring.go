package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

func newExpiring(o *options) *cobra.Command {
	var within string
	cmd := &cobra.Command{
		Use:   "expiring",
		Short: "Lists the active keys of both kinds that expire soon",
		Long: `Lists the active keys of both kinds that expire soon, the first to expire first. With
--quiet: one key id on each line. With --format json, json-pretty and yaml it is one
object, whose array keys has the records as the server wrote them.

The server cannot search for them: the command reads all active keys, in pages of
1000, and prints nothing before it has read the last page.`,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			period, err := core.ParseDuration(within)
			if err != nil || period == 0 {
				return errors.New(`--within: must be a duration above 0 such as "24h" or "14d"`)
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			defer c.Close()
			e := expiring{o: o, until: time.Now().Add(period)}
			for _, kind := range []client.Kind{client.Issued, client.Imported} {
				if err := e.read(cmd, c, kind); err != nil {
					return err
				}
			}
			return e.print(cmd)
		},
	}
	cmd.Flags().StringVar(&within, "within", "14d", "how soon, as a `duration` from now")
	return cmd
}

// expiring is the keys that expire until a time.
type expiring struct {
	o     *options
	until time.Time
	keys  []expiringKey
	all   int // active keys
	pages int
}

// expiringKey is a key, with what the server wrote of it.
type expiringKey struct {
	client.Key

	kind client.Kind
	raw  json.RawMessage
}

// read reads the active keys of a kind, and keeps those that expire in time.
func (e *expiring) read(cmd *cobra.Command, c *client.Client, kind client.Kind) error {
	l := lister{o: e.o, request: client.ListRequest{Kind: kind, Filter: "status=" + string(client.KeyStatusActive)}}
	return l.each(cmd, c, func(p *page) error {
		items, err := itemsOf(p.answer, collectionMember(kind))
		if err == nil && len(items) != len(p.keys) {
			err = e.o.failed(client.ErrAnswer)
		}
		if err != nil {
			return err
		}
		e.pages++
		e.all += len(p.keys)
		for i, k := range p.keys {
			if !k.ExpireTime.IsZero() && k.ExpireTime.Before(e.until) {
				e.keys = append(e.keys, expiringKey{k, kind, items[i]})
			}
		}
		return nil
	})
}

// print prints the keys, the first to expire first.
func (e *expiring) print(cmd *cobra.Command) error {
	slices.SortStableFunc(e.keys, func(a, b expiringKey) int { return a.ExpireTime.Compare(b.ExpireTime) })
	w := cmd.OutOrStdout()
	switch {
	case e.o.format != formatTable:
		stream := arrayStream{w: w, format: e.o.format, name: "keys"}
		for _, k := range e.keys {
			if err := stream.add(k.raw); err != nil {
				return err
			}
		}
		return stream.end()
	case e.o.quiet:
		var ids strings.Builder
		for _, k := range e.keys {
			ids.WriteString(printable(k.KeyID) + "\n")
		}
		_, err := io.WriteString(w, ids.String())
		return err
	}
	when := timesFor(w)
	rows := make([][]string, len(e.keys))
	for i, k := range e.keys {
		rows[i] = []string{
			k.KeyID, kindName(k.kind), k.Name, k.ActorID, when.at(k.ExpireTime), when.at(k.LastUsedTime),
		}
	}
	if len(rows) > 0 {
		if err := printRows(w, []string{"KEY ID", "KIND", "NAME", "ACTOR", "EXPIRES", "LAST USED"}, rows); err != nil {
			return err
		}
	}
	e.o.hint(cmd, fmt.Sprintf("%d of %d active keys expire before %s. Pages read: %d.", len(rows), e.all,
		e.until.UTC().Format(time.RFC3339), e.pages))
	return nil
}
