package command

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

const (
	// eventsWait is how long one call waits for an event: as long as the API allows.
	eventsWait = 30 * time.Second
	// The pauses between calls that fail: each is twice as long as the one before.
	firstEventsPause = time.Second
	maxEventsPause   = 30 * time.Second
)

func newEventsWatch(o *options) *cobra.Command {
	var after uint64
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Prints events as they come",
		Long: `Prints events as they come, until it is interrupted (Ctrl-C, exit status 0): from now
on; with --since or --after first those that have come since then. --after 0 begins with
the oldest event that the server keeps. With --quiet: the key id of each event, one a
line. The times in the table are not relative: a line would soon be wrong.

When the server cannot be reached any more or refuses for the moment (HTTP 429 and
5xx), standard error says so, and watch goes on where it was as soon as it can. When
events have been missed meanwhile, because the server does not keep them any more or has
another database, the exit status is 1 and standard error names the position of the last
event before them.

--since is a duration before now, such as 24h or 7d, or a time as in
2026-01-02T15:04:05Z.`,
	}
	addEventFlags(cmd, o, func(cmd *cobra.Command, c *client.Client, filter string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second interrupt ends the process, whatever it waits for
		w := newEventWatcher(cmd, o, c)
		w.request.After, w.request.Filter = after, filter
		if !cmd.Flags().Changed("after") && !cmd.Flags().Changed("since") {
			if err := w.goToEnd(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
		return w.run(ctx)
	})
	cmd.Flags().Uint64Var(&after, "after", 0, "the `position` after which to begin (default: the last one)")
	return cmd
}

// eventWatcher prints events as they come.
type eventWatcher struct {
	eventReader

	cmd     *cobra.Command
	printer eventPrinter
}

func newEventWatcher(cmd *cobra.Command, o *options, c *client.Client) *eventWatcher {
	return &eventWatcher{
		eventReader: eventReader{o: o, client: c, request: client.EventsRequest{PageSize: maxPage}},
		cmd:         cmd,
		// Wide enough for a time, a type, the id of an issued key, and an actor and an address of a usual length.
		printer: eventPrinter{o: o, w: cmd.OutOrStdout(), widths: []int{20, 21, 36, 12, 17}},
	}
}

// goToEnd makes the request one for the events that come from now on.
func (w *eventWatcher) goToEnd(ctx context.Context) error {
	end := w.eventReader
	end.request.After, end.request.PageSize = math.MaxUint64, 1 // beyond the end, whose position is the answer
	page, err := end.read(ctx)
	if err != nil {
		return w.failed(err)
	}
	w.request.After, w.request.FeedID = uint64(page.Position), page.FeedID
	w.o.hint(w.cmd, fmt.Sprintf("Watching for events after position %d.", page.Position))
	return nil
}

// run prints events until ctx ends, which is no error. A server that has answered once may fail for a while.
func (w *eventWatcher) run(ctx context.Context) error {
	var pause time.Duration // before the last call; 0: the call before it succeeded
	for {
		w.request.Wait = eventsWait
		if pause > 0 {
			w.request.Wait = 0 // to know at once that the server answers again
		}
		page, err := w.next(ctx)
		switch {
		case err == nil:
			if pause > 0 {
				w.cmd.PrintErrf("Reading events from %s works again.\n", w.o.endpointName())
			}
			pause = 0
			if err := w.printer.add(page); err != nil {
				return err
			}
		case ctx.Err() != nil:
			if w.request.FeedID != "" {
				w.o.hint(w.cmd, fmt.Sprintf("The last position is %d: --after %[1]d goes on.", w.request.After))
			}
			return nil
		case errors.Is(err, client.ErrEventsMissed):
			return fmt.Errorf("%w; --after 0 begins with the oldest event that is kept", w.failed(err))
		case w.request.FeedID == "" || !isOutage(err):
			return w.failed(err)
		default:
			if pause == 0 {
				w.cmd.PrintErrf("Reading events from %s failed: %s. Trying again.\n", w.o.endpointName(), cause(err))
			}
			pause = min(max(2*pause, firstEventsPause), maxEventsPause)
			sleep(ctx, max(pause, retryAfter(err)))
		}
	}
}

// isOutage reports whether a call may succeed later: nothing answered, or the server refused for the moment.
func isOutage(err error) bool {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.HTTP == http.StatusTooManyRequests || e.HTTP >= http.StatusInternalServerError
	}
	return !errors.Is(err, client.ErrAnswer)
}

// cause is why a call failed, in a few words: without the URL of the call.
func cause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return printable(err.Error())
}

// retryAfter is how long the server asks to wait.
func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// sleep waits for a time, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
