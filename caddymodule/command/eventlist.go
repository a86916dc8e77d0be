package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

func newEventsList(o *options) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the events that a server keeps, the oldest first",
		Long: `Lists the events that a server keeps, the oldest first. With --quiet: the key id of
each event, one a line.

With --format json each event is one line, written as it is read, so that any number
of events can be exported. With json-pretty and yaml it is one object, whose array
events has all of them. If a page cannot be read, or the server removes events before
they are read, the exit status is 1 and the JSON object is not closed.

--since is a duration before now, such as 24h or 7d, or a time as in
2026-01-02T15:04:05Z.`,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("limit") && limit < 1 {
				return errors.New("--limit: must be a number from 1")
			}
			return nil
		},
	}
	addEventFlags(cmd, o, func(cmd *cobra.Command, c *client.Client, filter string) error {
		r := &eventReader{o: o, client: c, request: client.EventsRequest{Filter: filter}}
		return printEvents(cmd, r, limit)
	})
	cmd.Flags().IntVar(&limit, "limit", 0, "how many events at most, from the oldest one on (default all)")
	return cmd
}

// printEvents prints events page after page: at most limit of them, or with 0 all.
func printEvents(cmd *cobra.Command, r *eventReader, limit int) error {
	p := eventPrinter{o: r.o, w: cmd.OutOrStdout(), times: timesFor(cmd.OutOrStdout())}
	if r.o.format == formatPretty || r.o.format == formatYAML {
		p.array = &arrayStream{w: p.w, format: r.o.format, name: "events"}
	}
	printed, complete := 0, false
	for !complete && (limit == 0 || printed < limit) {
		r.request.PageSize = maxPage
		if limit > 0 {
			r.request.PageSize = min(limit-printed, maxPage)
		}
		page, err := r.next(cmd.Context())
		if err != nil {
			return r.failed(err)
		}
		if err := p.add(page); err != nil {
			return err
		}
		printed += len(page.Events)
		complete = page.complete()
	}
	if p.array != nil {
		if err := p.array.end(); err != nil {
			return err
		}
	}
	switch {
	case printed == 0 && r.request.Filter == "":
		r.o.hint(cmd, "There are no events.")
	case printed == 0:
		r.o.hint(cmd, "There are no such events.")
	case !complete:
		r.o.hint(cmd, fmt.Sprintf("There may be more events; --limit allows more than %d.", limit))
	}
	return nil
}

// eventPrinter prints pages of events, one after the other.
type eventPrinter struct {
	o      *options
	w      io.Writer
	times  times
	array  *arrayStream // takes the events; nil: they are printed one by one
	widths []int        // least widths of a table's columns, for rows that are not known together
	begun  bool
}

// add prints the events of a page. Those that are printed one by one are written at once.
func (p *eventPrinter) add(page *eventPage) error {
	if p.array != nil {
		for _, event := range page.raw {
			if err := p.array.add(event); err != nil {
				return err
			}
		}
		return nil
	}
	if len(page.Events) == 0 {
		return nil
	}
	var b bytes.Buffer
	var err error
	switch {
	case p.o.format != formatTable:
		err = printEach(&b, p.o.format, page.raw)
	case p.o.quiet:
		for i := range page.Events {
			b.WriteString(printable(page.Events[i].KeyID) + "\n")
		}
	default:
		err = p.table(&b, page.Events)
	}
	if err != nil {
		return err
	}
	_, err = p.w.Write(b.Bytes())
	return err
}

// printEach prints events one by one: a line, an indented object or a document of YAML for each.
func printEach(b *bytes.Buffer, f format, events []json.RawMessage) error {
	for _, event := range events {
		if f == formatJSON {
			if err := json.Compact(b, event); err != nil {
				return fmt.Errorf("reading the server's answer: %w", err)
			}
			b.WriteByte('\n')
			continue
		}
		if f == formatYAML {
			b.WriteString("---\n")
		}
		if err := printAnswer(b, f, event); err != nil {
			return err
		}
	}
	return nil
}

// table prints events as rows of a table, which the first ones begin.
func (p *eventPrinter) table(w io.Writer, events []client.Event) error {
	var rows [][]string
	if !p.begun {
		p.begun = true
		rows = append(rows, []string{"TIME", "TYPE", "KEY", "ACTOR", "CALLER", "REASON"})
	}
	for i := range events {
		e := &events[i]
		var caller, reason string
		if e.Caller != nil {
			caller = strings.TrimSpace(string(e.Caller.Kind) + " " + e.Caller.ID)
		}
		if e.Reason != client.RevocationReasonUnspecified {
			reason = word(string(e.Reason), reasonPrefix)
		}
		rows = append(rows, []string{p.times.at(e.Time), e.Type, e.KeyID, e.ActorID, caller, reason})
	}
	for _, row := range rows {
		for i, width := range p.widths {
			row[i] = fmt.Sprintf("%-*s", width, printable(orDash(row[i])))
		}
	}
	return printRows(w, nil, rows)
}
