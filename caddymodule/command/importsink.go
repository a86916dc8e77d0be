package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"

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
	stream arrayStream
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
		s.stream = arrayStream{w: s.out, format: s.o.format, name: "results"}
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
			item, err := json.Marshal(importResult{r.Index, r.ErrorCode, r.ErrorMessage})
			if err != nil {
				return fmt.Errorf("writing a result: %w", err)
			}
			if err := s.stream.add(item); err != nil {
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

// finish writes what is written at the end. An import that failed before its first result writes nothing.
func (s *importSink) finish(failed bool) error {
	switch {
	case s.parts == 0 && failed:
		return nil
	case s.o.format == formatTable && s.o.quiet:
		_, err := fmt.Fprintln(s.out, s.counts.imported)
		return err
	case s.o.format == formatTable && s.large:
		return printFields(s.out,
			field{"IMPORTED", strconv.Itoa(s.counts.imported)},
			field{"ALREADY THERE", strconv.Itoa(s.counts.existed)},
			field{"FAILED", strconv.Itoa(s.counts.failed)},
		)
	case s.o.format == formatTable && s.parts > 0:
		return s.table()
	case s.o.format == formatTable:
		return nil
	case s.large:
		return s.stream.end(member{"success_count", s.counts.imported},
			member{"failure_count", s.counts.existed + s.counts.failed})
	}
	answer := s.answer
	if answer == nil {
		var err error
		answer, err = json.Marshal(client.BatchCreateResponse{
			Results:      append([]client.BatchCreateResult{}, s.held...),
			SuccessCount: s.counts.imported,
			FailureCount: s.counts.existed + s.counts.failed,
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
