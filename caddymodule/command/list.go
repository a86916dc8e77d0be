package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

const (
	// exitMore is the exit status of list --quiet when there are more keys than were printed.
	exitMore = 3
	// maxPage is the size of the largest page.
	maxPage = 1000

	flagUnused = "unused-for"
)

func newList(o *options, kind client.Kind) *cobra.Command {
	var actor, unusedFor string
	in := &choice{kind: "status", prefix: statusPrefix, words: []string{"active", "revoked", "expired"}}
	l := lister{o: o, request: client.ListRequest{Kind: kind}}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists " + kindName(kind) + " keys, in the order of their creation",
		Long: `Lists ` + kindName(kind) + ` keys, in the order of their creation. With --quiet: one key id on each
line.

Without --all it prints one page. When there are more keys, standard error says so,
and --page-token goes on. A command that reads the list must not work on a part of it
unnoticed, so --quiet then also ends with exit status 3. The other formats print the
API's answer, whose next_page_token says that there are more.

With --all it prints every key, page after page. With --format json, json-pretty and
yaml that is one object like the API's answer for one page: the array ` + collectionMember(kind) + `
has all keys, and there is no next_page_token. If a page cannot be read, the exit status
is 1 and the JSON object is not closed.

--unused-for is a duration before now, such as 24h or 90d, or a time as in
2026-01-02T15:04:05Z: the list is of the keys that were not used since, or never. The
server notes a use within about two minutes.`,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var terms []string
			if cmd.Flags().Changed("actor") {
				terms = append(terms, condition("actor_id=", actor))
			}
			if in.word != "" {
				terms = append(terms, "status="+in.value())
			}
			if cmd.Flags().Changed(flagUnused) {
				since, err := pastMoment(unusedFor, time.Now())
				if err != nil {
					return fmt.Errorf("--%s: %w", flagUnused, err)
				}
				// A page token holds for one filter: the next page needs the same time.
				text := since.UTC().Format(time.RFC3339)
				terms = append(terms, condition("last_used_time<", text))
				l.again = "--" + flagUnused + " " + text + " "
			}
			l.request.Filter = strings.Join(terms, " AND ")
			c, err := o.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if l.all {
				return l.printAll(cmd, c)
			}
			return l.printPage(cmd, c)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&actor, "actor", "", "only the keys of this actor")
	in.add(cmd, "status", "only the keys that are ")
	flags.StringVar(&unusedFor, flagUnused, "", "only the keys that were not used for this `time`, such as 90d")
	flags.BoolVar(&l.all, "all", false, "all pages")
	flags.IntVar(&l.request.PageSize, "page-size", 0,
		"how many keys a page has, at most 1000 (default 50; with --all 1000)")
	flags.StringVar(&l.request.PageToken, "page-token", "", "where to go on: what the page before named")
	return cmd
}

// condition is a condition of a filter whose value is a text; name ends with the operator.
func condition(name, text string) string {
	return name + `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

func kindName(kind client.Kind) string {
	if kind == client.Imported {
		return "imported"
	}
	return "issued"
}

// collectionMember is the name of the keys in the API's answer.
func collectionMember(kind client.Kind) string { return kindName(kind) + "_api_keys" }

// lister lists the keys of a kind.
type lister struct {
	o       *options
	all     bool
	request client.ListRequest
	again   string // flags that the next page needs beside --page-token
}

// page is a page of keys, with the answer that it was read from.
type page struct {
	keys   []client.Key
	next   string
	answer json.RawMessage
}

// ids are the key ids, one on each line.
func (p *page) ids() string {
	ids := make([]string, len(p.keys))
	for i := range p.keys {
		ids[i] = printable(p.keys[i].KeyID)
	}
	return strings.Join(ids, "\n")
}

// read reads the page that is asked for.
func (l *lister) read(cmd *cobra.Command, c *client.Client) (*page, error) {
	var answer json.RawMessage
	out, err := c.ListPage(cmd.Context(), l.request, client.Raw(&answer))
	if err == nil && string(answer) != "{}" { // empty fields may be left out
		err = recognise(answer, collectionMember(l.request.Kind))
	}
	if err != nil {
		return nil, l.o.failed(err)
	}
	return &page{out.Keys, out.NextPageToken, answer}, nil
}

func (l *lister) printPage(cmd *cobra.Command, c *client.Client) error {
	p, err := l.read(cmd, c)
	if err != nil {
		return err
	}
	err = l.o.output(cmd, p.answer, p.ids(), func(w io.Writer) error { return printKeys(w, p.keys, true) })
	if err != nil || p.next == "" || l.o.format != formatTable {
		return err
	}
	cmd.PrintErrf("There are more than these %d keys: --all for all of them, or %s--page-token %s for the next page.\n",
		len(p.keys), l.again, printable(p.next))
	if l.o.quiet {
		return exit(cmd, exitMore)
	}
	return nil
}

// printAll prints page after page, as each comes.
func (l *lister) printAll(cmd *cobra.Command, c *client.Client) error {
	w := cmd.OutOrStdout()
	stream := arrayStream{w: w, format: l.o.format, name: collectionMember(l.request.Kind)}
	first := true
	err := l.each(cmd, c, func(p *page) (err error) {
		switch {
		case l.o.format != formatTable:
			err = stream.addAll(p.answer)
		case !l.o.quiet:
			err = printKeys(w, p.keys, first)
		case len(p.keys) > 0:
			_, err = fmt.Fprintln(w, p.ids())
		}
		first = false
		return err
	})
	if err == nil && l.o.format != formatTable {
		return stream.end()
	}
	return err
}

// each calls f with each page, as it comes.
func (l *lister) each(cmd *cobra.Command, c *client.Client, f func(*page) error) error {
	if l.request.PageSize == 0 {
		l.request.PageSize = maxPage
	}
	for {
		p, err := l.read(cmd, c)
		if err != nil {
			return err
		}
		if err := f(p); err != nil || p.next == "" {
			return err
		}
		if p.next == l.request.PageToken {
			return errors.New("the server names the same page as the next one again and again")
		}
		l.request.PageToken = p.next
	}
}

// printKeys prints keys as a table.
func printKeys(w io.Writer, keys []client.Key, head bool) error {
	when := timesFor(w)
	rows := make([][]string, len(keys))
	for i := range keys {
		k := &keys[i]
		rows[i] = []string{
			k.KeyID, k.Name, k.ActorID, strings.Join(k.Scopes, " "), stateOf(k), when.at(k.CreateTime),
			when.expiry(k.ExpireTime), when.at(k.LastUsedTime),
		}
	}
	var columns []string
	if head {
		columns = []string{"KEY ID", "NAME", "ACTOR", "SCOPES", "STATUS", "CREATED", "EXPIRES", "LAST USED"}
	}
	return printRows(w, columns, rows)
}
