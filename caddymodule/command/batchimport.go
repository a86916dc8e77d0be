package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

func newBatchImport(o *options) *cobra.Command {
	var file, report string
	var skip int
	cmd := &cobra.Command{
		Use:   "batch-import --file FILE|-",
		Short: "Takes up any number of keys that were made elsewhere",
		Long: `Takes up any number of keys that were made elsewhere. The file is a JSON array of
them, or an object with the array as requests:

  [{"raw_key": "…", "name": "ci", "actor_id": "deploy-bot", "scopes": ["a"],
    "ttl": "90d", "metadata": {}}, …]

They are read as a stream and sent 1000 at a time; each is judged alone. Up to 1000
keys, the output is the API's answer: one result for each. Of more, it has the
failures only, and the counts. --report writes the failures to a file: a JSON
object with index, error_code and error_message on each line, and no key. An index
is the place in the file, from 0. With --quiet the number of imported keys is all
that is printed.

The exit status is 0 when every key is there in the end: one that was imported before
is told and counted, and is no failure. So the same file can be imported again. After
an interrupt (Ctrl-C), which ends the command when the call under way has ended, and
after a failed call, --skip goes on where it stopped, and --report then appends.`,
		Example: `  $ talos keys imported batch-import --file keys.json --report failed.jsonl
  $ jq -c '[.[] | {raw_key: .key, name, actor_id: .owner}]' old.json |
      talos keys imported batch-import --file - --format json | jq .success_count`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if skip < 0 {
				return errors.New("--skip: must be a number from 0")
			}
			return batchImport(cmd, o, file, report, skip)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&file, "file", "f", "", "`FILE` with the keys, or - for standard input (required)")
	flags.StringVar(&report, "report", "", "a new `FILE` for what failed")
	flags.IntVar(&skip, "skip", 0, "how many keys of the file to pass over")
	_ = cmd.MarkFlagRequired("file")
	return cmd
}

func batchImport(cmd *cobra.Command, o *options, file, reportFile string, skip int) (err error) {
	c, err := o.client()
	if err != nil {
		return err
	}
	defer c.Close()
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	report, err := openReport(reportFile, skip > 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, report.close()) }()

	m := importer{
		cmd: cmd, client: c, next: skip,
		sink: importSink{o: o, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), report: report},
	}
	m.progress = newProgress(cmd.ErrOrStderr(), o.quiet)
	ended := m.run(in)
	m.progress.clear()
	if err := m.sink.finish(); err != nil {
		return errors.Join(ended, err)
	}
	if o.format != formatTable || !m.sink.large {
		o.hint(cmd, m.sink.counts.String())
	}
	switch {
	case ended != nil && m.next > 0:
		return fmt.Errorf("%w; go on with --skip %d", ended, m.next)
	case ended != nil:
		return ended
	case m.sink.counts.failed > 0:
		return fmt.Errorf("%d of the keys could not be imported", m.sink.counts.failed)
	default:
		return nil
	}
}

// importer imports chunk after chunk.
type importer struct {
	cmd      *cobra.Command
	client   *client.Client
	sink     importSink
	progress *progress
	next     int // place of the first key of which nothing is known yet
}

var errInterrupted = errors.New("interrupted")

// run imports all that can be read. While a call is under way, the next chunk is read.
func (m *importer) run(in io.Reader) error {
	ctx, stop := signal.NotifyContext(m.cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the process at once

	// The reader is not waited for when it waits for standard input, from which nothing can wake it: the process ends.
	chunks := make(chan importChunk)
	go readChunks(ctx, in, m.next, chunks)
	empty := true
	for ctx.Err() == nil {
		var chunk importChunk
		select {
		case chunk = <-chunks:
		case <-ctx.Done():
			continue
		}
		if ctx.Err() != nil {
			break
		}
		if chunk.after() > chunk.first {
			empty = false
			if err := m.importChunk(ctx, &chunk); err != nil {
				return err
			}
		}
		m.next = chunk.after()
		switch {
		case errors.Is(chunk.err, io.EOF) && empty:
			return errors.New("there are no keys to import")
		case errors.Is(chunk.err, io.EOF):
			return nil
		case chunk.err != nil:
			return chunk.err
		}
	}
	return errInterrupted
}

// importChunk imports one chunk. A call that has begun is waited for, also when ctx is done: what came of it shall be
// known.
func (m *importer) importChunk(ctx context.Context, chunk *importChunk) error {
	type sent struct {
		results []client.BatchCreateResult
		answer  json.RawMessage
		err     error
	}
	done := make(chan sent, 1)
	go func() {
		results, answer, err := m.send(context.WithoutCancel(ctx), chunk.items)
		done <- sent{results, answer, err}
	}()
	var call sent
	select {
	case call = <-done:
	case <-ctx.Done():
		m.progress.clear()
		m.sink.o.hint(m.cmd, "Interrupted: the call under way is waited for. Another interrupt ends at once.")
		call = <-done
	}
	if call.err != nil {
		return call.err
	}
	if len(chunk.wrong) > 0 {
		call.results = append(call.results, chunk.wrong...)
		slices.SortFunc(call.results, func(a, b client.BatchCreateResult) int { return a.Index - b.Index })
	}
	if len(chunk.wrong) > 0 || chunk.first > 0 {
		call.answer = nil // it does not say the same, or counts from another place
	}
	m.progress.clear()
	if err := m.sink.add(call.results, call.answer); err != nil {
		return err
	}
	m.progress.show(&m.sink.counts)
	return full(call.results)
}

// full is an error when nothing came of a chunk but that the server has no room for more.
func full(results []client.BatchCreateResult) error {
	for i := range results {
		if results[i].ErrorCode != client.BatchCreateErrorResourceExhausted {
			return nil
		}
	}
	return errors.New("the server's quota of keys is full")
}

// send imports items. When the server refuses a call as a whole for what may be the fault of one item, it is asked
// about each half: nothing of a refused call was imported. The answer is the server's, when one call was enough.
func (m *importer) send(
	ctx context.Context, items []importItem,
) ([]client.BatchCreateResult, json.RawMessage, error) {
	if len(items) == 0 {
		return nil, nil, nil
	}
	bodies := make([]json.RawMessage, len(items))
	for i := range items {
		bodies[i] = items[i].body
	}
	var answer json.RawMessage
	out, err := m.client.BatchImportEncoded(ctx, bodies, client.Raw(&answer))
	if err == nil {
		for i := range out.Results {
			out.Results[i].Index = items[i].place
			out.Results[i].ErrorMessage = withoutKey(out.Results[i].ErrorMessage, items[i].body)
		}
		return out.Results, answer, nil
	}
	refused, ok := errors.AsType[*client.Error](err)
	switch {
	case !ok || !ofItems(refused.HTTP):
		return nil, nil, failed(err)
	case len(items) == 1:
		return []client.BatchCreateResult{{
			Index: items[0].place, ErrorCode: codeOf(refused), ErrorMessage: withoutKey(refused.Message, items[0].body),
		}}, nil, nil
	}
	half := len(items) / 2 //nolint:mnd // two halves
	first, _, err := m.send(ctx, items[:half])
	if err != nil {
		return nil, nil, err
	}
	second, _, err := m.send(ctx, items[half:])
	if err != nil {
		return nil, nil, err
	}
	return append(first, second...), nil, nil
}

// ofItems tells whether a call may have been refused for one of its items.
func ofItems(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusPaymentRequired, http.StatusConflict, http.StatusRequestEntityTooLarge,
		http.StatusUnprocessableEntity:
		return true
	default:
		return false
	}
}

// codeOf is the code of an item that was refused alone.
func codeOf(e *client.Error) client.BatchCreateErrorCode {
	switch e.HTTP {
	case http.StatusConflict:
		if e.Status == "FAILED_PRECONDITION" {
			return client.BatchCreateErrorFailedPrecondition
		}
		return client.BatchCreateErrorAlreadyExists
	case http.StatusPaymentRequired:
		return client.BatchCreateErrorResourceExhausted
	default:
		return client.BatchCreateErrorInvalidArgument
	}
}

// withoutKey takes an item's raw key out of a message, should a server repeat it.
func withoutKey(message string, body json.RawMessage) string {
	var r client.ImportRequest
	if json.Unmarshal(body, &r) != nil || r.RawKey == "" {
		return message
	}
	return strings.ReplaceAll(message, r.RawKey, "[credential]")
}

// progress tells a terminal how far an import is. To anything else it tells nothing.
type progress struct {
	w     io.Writer // nil: to nobody
	shown bool
}

func newProgress(w io.Writer, quiet bool) *progress {
	f, ok := w.(*os.File)
	if !ok || quiet {
		return &progress{}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return &progress{}
	}
	return &progress{w: w}
}

// clearLine goes to the begin of a terminal's line and empties it.
const clearLine = "\r\x1b[K"

func (p *progress) show(n *importCounts) {
	if p.w != nil {
		p.shown = true
		_, _ = fmt.Fprint(p.w, clearLine, n, " …")
	}
}

func (p *progress) clear() {
	if p.shown {
		p.shown = false
		_, _ = fmt.Fprint(p.w, clearLine)
	}
}
