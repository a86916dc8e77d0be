package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

const eventsShort = "Lists and watches the changes of keys"

// eventsLong is the manual.
const eventsLong = `Lists the changes of keys that a server has recorded, or prints new ones as they
come: what happened to which key and when, whom the key acts for, and who did it.
The server is the one at --endpoint, else at $TALOS_URL, else at
` + defaultEndpoint + `.

Standard output holds the events and nothing else; hints and errors go to standard
error. --format says how the events look:

  table        for people (the default)
  json         each event on one line, as the server wrote it (JSON Lines)
  json-pretty  list: one object with the array events; watch: one object for each
               event, indented
  yaml         list: the same as YAML; watch: one document for each event

--quiet leaves out the hints. With --format table it prints the key id of each event
and nothing else.

Exit status: 0 success, also when watch is interrupted; 1 the call failed, events
have been missed, or the answer was not the API's.`

// setEvents makes cmd the command events.
func setEvents(cmd *cobra.Command) {
	o := &options{format: formatTable}
	cmd.Use = "events"
	cmd.Short = eventsShort
	cmd.Long = eventsLong
	cmd.Example = `  $ talos events list --since 24h
  $ talos events list --format json >events.jsonl
  $ talos events watch --type IssuedAPIKeyRevoked --format json | jq -r .key_id`
	group(cmd)
	o.add(cmd, cmd.PersistentFlags())
	cmd.AddCommand(newEventsList(o), newEventsWatch(o))
}

// eventFlags are the flags that say which events are meant.
type eventFlags struct {
	key, actor, since string
	kind              choice
}

// addEventFlags adds the flags to a command, which calls run with their filter.
func addEventFlags(cmd *cobra.Command, o *options, run action) {
	f := new(eventFlags)
	cmd.Args, cmd.ValidArgsFunction = noArguments, cobra.NoFileCompletions
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := f.filter(cmd)
		if err != nil {
			return err
		}
		return o.call(cmd, filter, run)
	}
	flags := cmd.Flags()
	flags.StringVar(&f.key, "key", "", "only the events of the key with this `id`")
	flags.StringVar(&f.actor, "actor", "", "only the events of keys of this actor")
	flags.StringVar(&f.since, "since", "", "only the events since then: a `duration` before now, or a time")
	f.kind = choice{kind: "type", words: engine.EventTypes()}
	f.kind.add(cmd, "type", "only the events of this type: ")
	_ = cmd.RegisterFlagCompletionFunc("key", o.completeKeyIDs(client.AnyKind))
}

// filter is the filter that the flags describe.
func (f *eventFlags) filter(cmd *cobra.Command) (string, error) {
	var conditions []string
	if cmd.Flags().Changed("key") {
		if err := checkKeyID(f.key); err != nil {
			return "", fmt.Errorf("--key: %w", err)
		}
		conditions = append(conditions, condition("key_id=", f.key))
	}
	if cmd.Flags().Changed("actor") {
		conditions = append(conditions, condition("actor_id=", f.actor))
	}
	if f.kind.word != "" {
		conditions = append(conditions, condition("type=", f.kind.word))
	}
	if cmd.Flags().Changed("since") {
		since, err := pastMoment(f.since, time.Now())
		if err != nil {
			return "", fmt.Errorf("--since: %w", err)
		}
		conditions = append(conditions, condition("time>=", since.UTC().Format(time.RFC3339Nano)))
	}
	return strings.Join(conditions, " AND "), nil
}

// pastMoment reads a time, or a duration before now. Its error does not repeat the text.
func pastMoment(s string, now time.Time) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		age, err := core.ParseDuration(s)
		if err != nil {
			return time.Time{}, errors.New(`must be a duration such as "24h" or "7d", or a time such as ` +
				`"2026-01-02T15:04:05Z"`)
		}
		t = now.Add(-age)
	}
	if t.After(now) {
		return time.Time{}, errors.New("lies in the future")
	}
	return t, nil
}

// eventReader reads events page after page.
type eventReader struct {
	o       *options
	client  *client.Client
	request client.EventsRequest // of the next page
}

// eventPage is a page of events, each also as the server wrote it.
type eventPage struct {
	client.EventsResponse

	raw []json.RawMessage
}

// complete reports whether there was nothing behind the page.
func (p *eventPage) complete() bool { return p.CompleteAge != "" }

// next reads the page that the request is for, and makes the request one for the page behind it. When events that the
// reader should have read are not kept any more, the error is [client.ErrEventsMissed].
func (r *eventReader) next(ctx context.Context) (*eventPage, error) {
	page, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	begun := r.request.After != 0 || r.request.FeedID != ""
	switch {
	case page.Reset && begun:
		return nil, fmt.Errorf("after position %d, %w", r.request.After, client.ErrEventsMissed)
	case !page.complete() && uint64(page.Position) <= r.request.After:
		return nil, fmt.Errorf("%w: it leads to the same position again", client.ErrAnswer)
	}
	r.request.After, r.request.FeedID = uint64(page.Position), page.FeedID
	return page, nil
}

func (r *eventReader) read(ctx context.Context) (*eventPage, error) {
	var answer json.RawMessage
	out, err := r.client.EventsPage(ctx, r.request, client.Raw(&answer))
	if err == nil {
		err = recognise(answer, "events")
	}
	if err != nil {
		return nil, err
	}
	var items struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(answer, &items); err != nil {
		return nil, fmt.Errorf("reading the server's answer: %w", err)
	}
	return &eventPage{*out, items.Events}, nil
}

// failed makes the error of a call fit for a terminal.
func (r *eventReader) failed(err error) error {
	text := r.o.failed(err)
	if e, ok := errors.AsType[*client.Error](err); ok && e.HTTP == http.StatusNotFound && hasEnvelope(e) {
		return fmt.Errorf("%w; this server has no feed of events", text)
	}
	return text
}
