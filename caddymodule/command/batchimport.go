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
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

func newBatchImport(o *options) *cobra.Command {
	r := importRun{o: o}
	form := &choice{kind: "format", words: []string{formJSON, formLines, formCSV}}
	cmd := &cobra.Command{
		Use:   "batch-import --file FILE|-",
		Short: "Imports any number of keys that were made elsewhere",
		Long: `Imports any number of keys that were made elsewhere. The input is one of these; its
content says which, or --input-format does:

  json    an array of keys, or an object with the array as requests:
          [{"raw_key": "…", "name": "ci", "actor_id": "deploy-bot", "scopes": ["a"],
            "ttl": "90d", "metadata": {}}, …]
  jsonl   JSON Lines: such a key on each line
  csv     a first line that names the columns, of
          raw_key, name, actor_id, scopes, ttl, metadata, visibility,
          allowed_cidrs, rate_limit_quota, rate_limit_window, request_id.
          Lists are separated by spaces or commas, metadata is a JSON object, and
          an empty field is one that is not given

The input is read as a stream and sent 1000 keys at a time; each is judged alone. Up to
1000 keys, the output is the API's answer: one result for each. Of more, it has the
failures only, and the counts. An index is the place of a key in the input, from 0. With
--quiet the number of imported keys is all that is printed.

The exit status is 0 when every key is there in the end: one that was imported before is
reported and counted, and is no failure. So the same input can be imported again.

With --report the command can be run again after a failure or an interrupt (Ctrl-C, which
ends it when the call under way has ended): the report says what failed and where the
run stopped, and a run with the same input and the same report does only what is left.
It then replaces the report. A report is JSON Lines with index, error_code and
error_message, and holds no key. Without a report, --skip goes on where a run stopped.`,
		Example: `  $ talos keys imported batch-import --file keys.json --report left.jsonl
  $ psql -c "COPY (SELECT key AS raw_key, name, owner AS actor_id FROM keys) TO STDOUT (FORMAT csv, HEADER)" |
      talos keys imported batch-import --file - --format json | jq .success_count`,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case r.skip < 0:
				return errors.New("--skip: must be a number from 0")
			case r.skip > 0 && r.report != "":
				return errors.New("--skip does not go with --report, which says itself where to go on")
			}
			r.form = form.word
			return r.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&r.file, "file", "f", "", "`FILE` with the keys, or - for standard input (required)")
	form.add(cmd, "input-format", "what the input is (default: what it looks like): ")
	flags.StringVar(&r.report, "report", "", "`FILE` for what failed and what is left to do")
	flags.IntVar(&r.skip, "skip", 0, "how many keys of the input to pass over")
	_ = cmd.MarkFlagRequired("file")
	return cmd
}

// importRun is what an import is asked to do.
type importRun struct {
	o                  *options
	file, form, report string
	skip               int
}

func (r *importRun) run(cmd *cobra.Command) (err error) {
	c, err := r.o.client()
	if err != nil {
		return err
	}
	defer c.Close()
	in := cmd.InOrStdin()
	if r.file != "-" {
		f, err := os.Open(r.file)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	report, err := openReport(r.report, filepath.Base(r.file))
	if err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	defer func() { err = errors.Join(err, report.close()) }()
	from := &startingPoint{next: r.skip, keys: -1, source: "--skip"}
	if report.goesOn() {
		from = report.from
		r.o.hint(cmd, fmt.Sprintf("Going on at key %d. Of those before it, %d failed and are tried again.",
			from.next, len(from.failed)))
	}
	m := importer{
		cmd: cmd, client: c, next: r.skip, from: from, form: r.form,
		sink: importSink{o: r.o, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), report: report},
	}
	done := from.next - len(from.failed)
	m.progress = newProgress(cmd.ErrOrStderr(), r.o.quiet, r.keys()-done)
	ended := m.run(in)
	m.progress.clear()
	if err := m.sink.finish(ended != nil); err != nil {
		return errors.Join(ended, err)
	}
	if err := report.finish(m.next, ended == nil); err != nil {
		return errors.Join(ended, fmt.Errorf("--report: %w", err))
	}
	return r.conclude(cmd, &m, ended)
}

// keys counts the keys of the input, where it can be read twice; else, and where it cannot be read to its end, it is
// -1.
func (r *importRun) keys() int {
	if r.file == "-" || r.o.quiet {
		return -1
	}
	f, err := os.Open(r.file)
	if err != nil {
		return -1
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return -1
	}
	in, err := newKeyReader(f, r.form)
	for n := 0; err == nil; n++ {
		if _, err = in.next(); errors.Is(err, io.EOF) {
			return n
		}
	}
	return -1
}

// conclude reports the counts and how to go on.
func (r *importRun) conclude(cmd *cobra.Command, m *importer, ended error) error {
	counts := &m.sink.counts
	if r.o.format != formatTable || !m.sink.large {
		r.o.hint(cmd, counts.String())
	}
	switch {
	case ended != nil && r.report != "" && (m.next > 0 || m.sink.report.goesOn()):
		return fmt.Errorf("%w; the same command with the same --report goes on", ended)
	case ended != nil && m.next > 0:
		return fmt.Errorf("%w; go on with --skip %d", ended, m.next)
	case ended != nil:
		return ended
	case counts.failed > 0:
		return fmt.Errorf("%d of the keys could not be imported", counts.failed)
	default:
		return nil
	}
}

// importer imports chunk after chunk.
type importer struct {
	cmd      *cobra.Command
	client   *client.Client
	from     *startingPoint
	form     string
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
	go readChunks(ctx, in, m.form, m.from, chunks)
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
		empty = empty && chunk.end == 0
		if len(chunk.items)+len(chunk.wrong) > 0 {
			if err := m.importChunk(ctx, &chunk); err != nil {
				return err
			}
		}
		m.next = chunk.end
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
	if !chunk.answers() {
		call.answer = nil
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
		return nil, nil, m.sink.o.failed(err)
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

// ofItems reports whether a call may have been refused for one of its items.
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
