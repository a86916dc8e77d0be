package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

const edgesShort = "Lists the edges that follow a server's changes"

// setEdges makes cmd the command edges.
func setEdges(cmd *cobra.Command) {
	o := &options{format: formatTable}
	cmd.Use = "edges"
	cmd.Short = edgesShort
	cmd.Long = `Lists the edges that follow a server's changes, and how far each of them has come:
sidecars, other processes on the server's database, and the sidecars behind those.
The server is the one at --endpoint, else at $TALOS_URL, else at
` + defaultEndpoint + `.

BEHIND is the number of positions in the feed of changes that an edge has not
acknowledged. An edge that was not heard of for a minute is gone: nobody waits for it,
and it refuses a revoked key when its cached verdicts expire. It is shown for ten
minutes. With --quiet: the name of each edge that is not gone, one a line.`
	cmd.Example = `  $ talos edges
  $ talos keys revoke KEY_ID --wait 5s`
	cmd.Args, cmd.ValidArgsFunction = noArguments, cobra.NoFileCompletions
	o.add(cmd, cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return o.call(cmd, "", func(cmd *cobra.Command, c *client.Client, _ string) error {
			var answer json.RawMessage
			edges, err := c.Edges(cmd.Context(), client.Raw(&answer))
			if err == nil {
				err = recognise(answer, "edges")
			}
			if err != nil {
				return o.failed(err)
			}
			return o.printEdges(cmd, answer, edges)
		})
	}
}

func (o *options) printEdges(cmd *cobra.Command, answer json.RawMessage, edges *client.EdgesResponse) error {
	if len(edges.Edges) == 0 {
		o.hint(cmd, "No edge follows the changes of this server.")
	}
	var live []string
	for i := range edges.Edges {
		if e := &edges.Edges[i]; !e.Gone {
			live = append(live, printable(e.EdgeID))
		}
	}
	return o.output(cmd, answer, strings.Join(live, "\n"), func(w io.Writer) error {
		if len(edges.Edges) == 0 {
			return nil
		}
		times := timesFor(w)
		rows := make([][]string, len(edges.Edges))
		for i := range edges.Edges {
			e := &edges.Edges[i]
			state := "live"
			if e.Gone {
				state = "gone"
			}
			rows[i] = []string{
				e.EdgeID, state, strconv.FormatInt(int64(e.Lag), 10), times.at(e.LastSeenTime), e.Address, e.Via,
				e.Version,
			}
		}
		return printRows(w, []string{"EDGE", "STATE", "BEHIND", "SEEN", "ADDRESS", "VIA", "VERSION"}, rows)
	})
}

// exitUnconfirmed is the exit status of a change that some edges have not confirmed.
const exitUnconfirmed = 4

// printConfirmation says who has applied a change, and sets the exit status.
func (o *options) printConfirmation(cmd *cobra.Command, c *client.Confirmation, took time.Duration) error {
	all := c.Confirmed + c.Unconfirmed
	text := fmt.Sprintf("confirmed on %d of %d edges in %s", c.Confirmed, all, tookText(took))
	switch {
	case !c.Known:
		text = "the server does not say which edges have applied the change"
	case all == 0:
		text = "no edge follows the changes of this server: there is none to confirm it"
	case len(c.Names) > 0:
		text += "; not on " + printable(strings.Join(c.Names, " "))
		if more := c.Unconfirmed - len(c.Names); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
	}
	confirmed := c.Known && c.Unconfirmed == 0
	switch {
	case o.format != formatTable || !confirmed:
		cmd.PrintErrln(text)
	case !o.quiet:
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
			return err
		}
	}
	if !confirmed {
		return exit(cmd, exitUnconfirmed)
	}
	return nil
}

// tookText is a time that a call took, for people.
func tookText(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
