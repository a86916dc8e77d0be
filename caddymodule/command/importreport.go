package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// importReport is the file of what an import has left to do, as JSON Lines: a key that failed on each, in the order of
// the input, and at the end how far the import came. No key is in it. It is written beside the file that it replaces at
// the end, so that at every moment there is a whole report, the old one or the new one.
type importReport struct {
	path  string
	input string         // name of the input
	from  *startingPoint // what the file said at the begin; nil: there was none
	file  *os.File       // the new report; nil: it has been put in place
	w     *bufio.Writer
}

// reportLine is a line of a report: a key that failed, or the last one.
type reportLine struct {
	importResult

	Input *string `json:"input,omitempty"` // name of the input; nil: this is not the last line
	Next  *int    `json:"next,omitempty"`  // nothing has been done from this place on; nil: there is nothing there
	Keys  *int    `json:"keys,omitempty"`  // how many the input holds, once it has been read to its end
}

// maxReportLine bounds a line of a report, in bytes. The messages in it are a server's.
const maxReportLine = 1 << 20

// openReport begins a report of an input. The file may be there, from an earlier run. Without a path there is none.
func openReport(path, input string) (*importReport, error) {
	if path == "" {
		return nil, nil
	}
	r := &importReport{path: path, input: input}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	default:
		if err := r.read(); err != nil {
			return nil, err
		}
	}
	// Only its owner may read what CreateTemp creates.
	if r.file, err = os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*"); err != nil {
		return nil, err
	}
	r.w = bufio.NewWriter(r.file)
	return r, nil
}

// goesOn reports whether an earlier run has left a report.
func (r *importReport) goesOn() bool { return r != nil && r.from != nil }

// read reads what an earlier run has left.
func (r *importReport) read() error {
	r.from = &startingPoint{keys: -1, source: "--report"}
	var last *reportLine
	err := r.lines(func(line *reportLine) error {
		before := len(r.from.failed)
		switch {
		case last != nil, line.Input == nil && before > 0 && r.from.failed[before-1] >= line.Index:
			return errNoReport
		case line.Input != nil:
			last = line
		case line.Code == "":
			return errNoReport
		default:
			r.from.failed = append(r.from.failed, line.Index)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case last == nil || last.Next == nil && last.Keys == nil:
		return fmt.Errorf("%s: %w", r.path, errNoReport)
	case *last.Input != r.input:
		return fmt.Errorf("%s is of another input, %q; name another file", r.path, *last.Input)
	case last.Next != nil:
		r.from.next = *last.Next
	default:
		r.from.next, r.from.keys = *last.Keys, *last.Keys
	}
	return nil
}

var errNoReport = errors.New("is no report of this command; name another file")

// lines calls f for each line of the report that is there.
func (r *importReport) lines(f func(*reportLine) error) error {
	file, err := os.Open(r.path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	s := bufio.NewScanner(file)
	s.Buffer(nil, maxReportLine)
	for s.Scan() {
		var line reportLine
		if json.Unmarshal(s.Bytes(), &line) != nil {
			return fmt.Errorf("%s: %w", r.path, errNoReport)
		}
		if err := f(&line); err != nil {
			return fmt.Errorf("%s: %w", r.path, err)
		}
	}
	return s.Err()
}

// add writes those of the results that are failures. A key that is there already is none.
func (r *importReport) add(results []client.BatchCreateResult) error {
	if r == nil {
		return nil
	}
	for i := range results {
		x := &results[i]
		if x.ErrorCode == "" || x.ErrorCode == client.BatchCreateErrorAlreadyExists {
			continue
		}
		if err := r.write(importResult{x.Index, x.ErrorCode, x.ErrorMessage}); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
	}
	return nil
}

func (r *importReport) write(line any) error {
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = r.w.Write(append(text, '\n'))
	return err
}

// finish puts the new report in the place of the old one. The run knows what came of the keys before next; complete
// says that these are all.
func (r *importReport) finish(next int, complete bool) error {
	if r == nil || next == 0 && !complete {
		return nil // what is there stays right
	}
	end := struct {
		Input string `json:"input"`
		Next  *int   `json:"next,omitempty"`
		Keys  *int   `json:"keys,omitempty"`
	}{Input: r.input, Next: &next}
	switch {
	case complete:
		end.Next, end.Keys = nil, &next
	case r.goesOn():
		if err := r.keep(next); err != nil {
			return err
		}
		if r.from.next > next {
			end.Next = &r.from.next
		}
		if r.from.keys >= 0 {
			end.Next, end.Keys = nil, &r.from.keys
		}
	}
	if err := r.write(end); err != nil {
		return err
	}
	if err := r.w.Flush(); err != nil {
		return err
	}
	if err := r.file.Sync(); err != nil {
		return err
	}
	if err := r.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(r.file.Name(), r.path); err != nil {
		return err
	}
	r.file = nil
	return nil
}

// keep copies from the report that is there what failed at or behind a place, which this run did not reach.
func (r *importReport) keep(next int) error {
	return r.lines(func(line *reportLine) error {
		if line.Input != nil || line.Index < next {
			return nil
		}
		return r.write(line.importResult)
	})
}

// close removes a report that has not been put in place.
func (r *importReport) close() error {
	if r == nil || r.file == nil {
		return nil
	}
	_ = r.file.Close()
	return os.Remove(r.file.Name())
}
