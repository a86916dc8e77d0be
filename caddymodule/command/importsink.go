package command

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// importResult is what came of one key, as a large import and its report write it.
type importResult struct {
	Index   int                         `json:"index"`
	Code    client.BatchCreateErrorCode `json:"error_code"`
	Message string                      `json:"error_message,omitempty"`
}

// importCounts are how many keys came to what.
type importCounts struct{ imported, existed, failed int }

func (n *importCounts) add(r *client.BatchCreateResult) {
	switch r.ErrorCode {
	case "":
		n.imported++
	case client.BatchCreateErrorAlreadyExists:
		n.existed++
	default:
		n.failed++
	}
}

// String is the sentence for people.
func (n *importCounts) String() string {
	return fmt.Sprintf("imported %d, already there %d, failed %d", n.imported, n.existed, n.failed)
}

// importSink writes what came of an import. Up to maxChunk results are kept and written as one answer of the API. When
// there are more, only the failures are written, each as it comes, so that no number of keys fills the memory.
type importSink struct {
	o         *options
	out, errs io.Writer
	report    *importReport // nil: none

	counts importCounts
	held   []client.BatchCreateResult
	answer json.RawMessage // the server's own, while it is all there is
	parts  int
	large  bool
	stream failureStream
	told   int // failures that were told on standard error
}

// add takes the results of a part of the import, in the order of the input. answer is the server's answer when it says
// the same.
func (s *importSink) add(results []client.BatchCreateResult, answer json.RawMessage) error {
	s.parts++
	if s.answer = answer; s.parts > 1 {
		s.answer = nil
	}
	for i := range results {
		s.counts.add(&results[i])
	}
	if err := s.report.add(results); err != nil {
		return err
	}
	if !s.large && len(s.held)+len(results) <= maxChunk {
		s.held = append(s.held, results...)
		return nil
	}
	if !s.large {
		s.large = true
		s.stream = failureStream{w: s.out, format: s.o.format}
		if err := s.fail(s.held); err != nil {
			return err
		}
		s.held = nil
	}
	return s.fail(results)
}

// maxTold is how many failures of a large import are told on standard error, where keys that are there already are only
// counted. A report has them all.
const maxTold = 20

// fail writes the failures among the results of a large import.
func (s *importSink) fail(results []client.BatchCreateResult) error {
	for i := range results {
		r := &results[i]
		if r.ErrorCode == "" {
			continue
		}
		if s.o.format != formatTable {
			if err := s.stream.add(importResult{r.Index, r.ErrorCode, r.ErrorMessage}); err != nil {
				return err
			}
			continue
		}
		if s.o.quiet || s.told > maxTold || r.ErrorCode == client.BatchCreateErrorAlreadyExists {
			continue
		}
		line := fmt.Sprintf("key %d: %s", r.Index, printable(outcome(r)))
		if s.told == maxTold {
			line = "and more; --report FILE writes them all"
		}
		s.told++
		if _, err := fmt.Fprintln(s.errs, line); err != nil {
			return err
		}
	}
	return nil
}

// finish writes what is written at the end.
func (s *importSink) finish() error {
	if s.parts == 0 {
		return nil
	}
	switch {
	case s.o.format == formatTable && s.o.quiet:
		_, err := fmt.Fprintln(s.out, s.counts.imported)
		return err
	case s.o.format == formatTable && s.large:
		return printFields(s.out,
			field{"IMPORTED", strconv.Itoa(s.counts.imported)},
			field{"ALREADY THERE", strconv.Itoa(s.counts.existed)},
			field{"FAILED", strconv.Itoa(s.counts.failed)},
		)
	case s.o.format == formatTable:
		return s.table()
	case s.large:
		return s.stream.end(&s.counts)
	}
	answer := s.answer
	if answer == nil {
		var err error
		answer, err = json.Marshal(client.BatchCreateResponse{
			Results: s.held, SuccessCount: s.counts.imported, FailureCount: s.counts.existed + s.counts.failed,
		})
		if err != nil {
			return fmt.Errorf("writing the results: %w", err)
		}
	}
	return printAnswer(s.out, s.o.format, answer)
}

func (s *importSink) table() error {
	rows := make([][]string, len(s.held))
	for i := range s.held {
		r := &s.held[i]
		rows[i] = []string{strconv.Itoa(r.Index), "", "", "", outcome(r)}
		if k := r.ImportedAPIKey; k != nil {
			rows[i][1], rows[i][2], rows[i][3] = k.KeyID, k.Name, k.ActorID
		}
	}
	return printRows(s.out, []string{"INDEX", "KEY ID", "NAME", "ACTOR", "RESULT"}, rows)
}

// outcome says what came of a key.
func outcome(r *client.BatchCreateResult) string {
	if r.ErrorCode == "" {
		return "imported"
	}
	text := word(string(r.ErrorCode), "BATCH_CREATE_IMPORTED_API_KEYS_ERROR_")
	if r.ErrorMessage != "" {
		text += ": " + r.ErrorMessage
	}
	return text
}

// failureStream writes an answer of the API whose results are not known yet: one by one, and the counts at the end.
type failureStream struct {
	w      io.Writer
	format format
	begun  bool
}

// add writes a result.
func (s *failureStream) add(r importResult) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing a result: %w", err)
	}
	var b bytes.Buffer
	before := map[format]string{
		formatJSON: `{"results":[`, formatPretty: "{\n  \"results\": [\n    ", formatYAML: "results:\n",
	}
	if s.begun {
		before = map[format]string{formatJSON: ",", formatPretty: ",\n    "}
	}
	s.begun = true
	b.WriteString(before[s.format])
	switch s.format {
	case formatPretty:
		err = json.Indent(&b, raw, "    ", "  ")
	case formatYAML:
		var item bytes.Buffer
		err = writeYAML(&item, append(append([]byte("["), raw...), ']'))
		for line := range strings.Lines(item.String()) {
			b.WriteString("  " + line)
		}
	default:
		b.Write(raw)
	}
	if err != nil {
		return err
	}
	_, err = s.w.Write(b.Bytes())
	return err
}

// end writes the counts.
func (s *failureStream) end(n *importCounts) error {
	text, bracket := "", "\n  ]"
	if !s.begun {
		text = map[format]string{
			formatJSON: `{"results":[`, formatPretty: "{\n  \"results\": [", formatYAML: "results: []\n",
		}[s.format]
		bracket = "]"
	}
	success, failure := n.imported, n.existed+n.failed
	switch s.format {
	case formatPretty:
		text += fmt.Sprintf("%s,\n  \"success_count\": %d,\n  \"failure_count\": %d\n}\n", bracket, success, failure)
	case formatYAML:
		text += fmt.Sprintf("success_count: %d\nfailure_count: %d\n", success, failure)
	default:
		text += fmt.Sprintf("],\"success_count\":%d,\"failure_count\":%d}\n", success, failure)
	}
	_, err := io.WriteString(s.w, text)
	return err
}

// importReport is the file of what was not imported: a JSON object on each line, without the keys.
type importReport struct {
	file *os.File
	w    *bufio.Writer
}

// openReport creates the file, for its owner alone. When an import goes on, its report does so too; else a file that
// exists is an error.
func openReport(path string, goesOn bool) (*importReport, error) {
	if path == "" {
		return nil, nil
	}
	mode := os.O_WRONLY | os.O_CREATE
	if goesOn {
		mode |= os.O_APPEND
	} else {
		mode |= os.O_EXCL
	}
	f, err := os.OpenFile(path, mode, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("--report: %s exists; it is left as it is", path)
	}
	if err != nil {
		return nil, fmt.Errorf("--report: %w", err)
	}
	return &importReport{f, bufio.NewWriter(f)}, nil
}

// add writes those of the results that are failures. They are in the file when it returns.
func (r *importReport) add(results []client.BatchCreateResult) error {
	if r == nil {
		return nil
	}
	e := json.NewEncoder(r.w)
	for i := range results {
		if x := &results[i]; x.ErrorCode != "" {
			if err := e.Encode(importResult{x.Index, x.ErrorCode, x.ErrorMessage}); err != nil {
				return fmt.Errorf("--report: %w", err)
			}
		}
	}
	if err := r.w.Flush(); err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	return nil
}

func (r *importReport) close() error {
	if r == nil {
		return nil
	}
	return r.file.Close()
}
