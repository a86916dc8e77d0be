package command

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// The formats of an input of batch-import.
const (
	formJSON  = "json"
	formLines = "jsonl"
	formCSV   = "csv"
)

// newKeyReader reads an input of a format, or of the one that its beginning looks like.
func newKeyReader(in io.Reader, form string) (keyReader, error) {
	b := bufio.NewReaderSize(in, maxItemBytes)
	const byteOrderMark = "\xef\xbb\xbf" // of spreadsheets
	if mark, err := b.Peek(len(byteOrderMark)); err == nil && string(mark) == byteOrderMark {
		if _, err := b.Discard(len(mark)); err != nil {
			return nil, err
		}
	}
	if form == "" {
		form = looksLike(b)
	}
	switch form {
	case formLines:
		return &lineReader{in: b}, nil
	case formCSV:
		return newCSVReader(b)
	default:
		return newItemReader(b), nil
	}
}

// looksLike finds the format of an input by its first character, and where that begins an object by the first line: a
// single key is JSON Lines.
func looksLike(b *bufio.Reader) string {
	for {
		c, err := b.ReadByte()
		if err != nil {
			return formJSON // which says that it ends too early
		}
		if !unicode.IsSpace(rune(c)) {
			_ = b.UnreadByte()
			break
		}
	}
	line := firstLine(b)
	switch line[0] {
	case '[':
		return formJSON
	case '{':
		var key struct {
			RawKey json.RawMessage `json:"raw_key"`
		}
		if json.Unmarshal(line, &key) == nil && key.RawKey != nil {
			return formLines
		}
		return formJSON
	default:
		return formCSV
	}
}

// firstLine returns the first line without reading it, and no more than can be held of it. An array is not waited for.
func firstLine(b *bufio.Reader) []byte {
	for {
		text, _ := b.Peek(b.Buffered())
		if end := bytes.IndexByte(text, '\n'); end >= 0 {
			return text[:end]
		}
		if text[0] == '[' {
			return text
		}
		if _, err := b.Peek(len(text) + 1); err != nil {
			return text
		}
	}
}

// lineReader reads JSON Lines: a key on each line. A line that is not JSON fails alone.
type lineReader struct {
	in    *bufio.Reader // its buffer bounds a line
	place int           // of the next key
}

// next makes it a keyReader.
func (r *lineReader) next() (importItem, error) {
	for {
		line, err := r.in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return importItem{}, fmt.Errorf("key %d: %w", r.place, errItemTooLong)
		case err != nil && !errors.Is(err, io.EOF):
			return importItem{}, fmt.Errorf("key %d: %w", r.place, err)
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			if err != nil {
				return importItem{}, io.EOF
			}
			continue
		}
		item := importItem{place: r.place}
		r.place++
		if json.Valid(line) {
			item.body = bytes.Clone(line)
		} else {
			item.problem = "is not well-formed JSON"
		}
		return item, nil
	}
}

// csvColumn sets the field of a column from a value that is not empty.
type csvColumn func(r *client.ImportRequest, value string) error

// csvNames are the names of the columns, in the order in which errors list them.
var csvNames = []string{
	"raw_key", "name", "actor_id", "scopes", "ttl", "metadata", "visibility", "allowed_cidrs", "rate_limit_quota",
	"rate_limit_window", "request_id",
}

var csvColumns = map[string]csvColumn{
	"raw_key":    func(r *client.ImportRequest, v string) error { r.RawKey = v; return nil },
	"name":       func(r *client.ImportRequest, v string) error { r.Name = v; return nil },
	"actor_id":   func(r *client.ImportRequest, v string) error { r.ActorID = v; return nil },
	"ttl":        func(r *client.ImportRequest, v string) error { r.TTL = v; return nil },
	"request_id": func(r *client.ImportRequest, v string) error { r.RequestID = v; return nil },
	"scopes": func(r *client.ImportRequest, v string) error {
		return (&words{&r.Scopes, checkScope}).Set(v)
	},
	"metadata": func(r *client.ImportRequest, v string) (err error) {
		r.Metadata, err = jsonObject(v)
		return err
	},
	"visibility": func(r *client.ImportRequest, v string) error {
		c := choice{prefix: visibilityPrefix, words: []string{"secret", "public"}}
		err := c.Set(v)
		r.Visibility = client.KeyVisibility(c.value())
		return err
	},
	"allowed_cidrs": func(r *client.ImportRequest, v string) error {
		r.IPRestriction = &client.IPRestriction{AllowedCIDRs: splitWords(v)}
		return nil
	},
	"rate_limit_quota": func(r *client.ImportRequest, v string) error {
		quota, err := strconv.ParseInt(v, 10, 64)
		if err != nil || quota < 1 {
			return errors.New("must be a whole number from 1")
		}
		limitOf(r).Quota = client.Int64(quota)
		return nil
	},
	"rate_limit_window": func(r *client.ImportRequest, v string) error {
		limitOf(r).Window = v
		return nil
	},
}

// limitOf is the rate limit of a key that is read, which this adds where there is none.
func limitOf(r *client.ImportRequest) *client.RateLimitPolicy {
	if r.RateLimitPolicy == nil {
		r.RateLimitPolicy = &client.RateLimitPolicy{}
	}
	return r.RateLimitPolicy
}

// csvReader reads CSV (RFC 4180). A line that is not a key fails alone.
type csvReader struct {
	csv     *csv.Reader
	source  *budget
	columns []string
	place   int // of the next key
}

// newCSVReader reads the line of the columns' names.
func newCSVReader(in io.Reader) (*csvReader, error) {
	source := &budget{r: in}
	r := &csvReader{csv: csv.NewReader(source), source: source}
	r.csv.FieldsPerRecord = -1
	r.csv.ReuseRecord = true
	head, err := r.read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("there are no keys to import")
	case err != nil:
		return nil, fmt.Errorf("the line of the columns' names: %w", err)
	}
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(name))
		if !slices.Contains(csvNames, name) || slices.Contains(r.columns, name) {
			// The name is not repeated: a file without names begins with a key.
			return nil, fmt.Errorf("column %d of the first line is none of %s, or is there twice; see --input-format",
				i+1, strings.Join(csvNames, ", "))
		}
		r.columns = append(r.columns, name)
	}
	if !slices.Contains(r.columns, "raw_key") {
		return nil, errors.New("the first line names no column raw_key")
	}
	return r, nil
}

// read reads a line. Its errors do not repeat it.
func (r *csvReader) read() ([]string, error) {
	r.source.left = maxItemBytes
	record, err := r.csv.Read()
	if bad, ok := errors.AsType[*csv.ParseError](err); ok {
		return nil, fmt.Errorf("is not well-formed CSV, in line %d", bad.Line)
	}
	return record, err
}

// next makes it a keyReader.
func (r *csvReader) next() (importItem, error) {
	record, err := r.read()
	if errors.Is(err, io.EOF) {
		return importItem{}, io.EOF
	}
	if err != nil {
		return importItem{}, fmt.Errorf("key %d: %w", r.place, err)
	}
	item := importItem{place: r.place}
	r.place++
	key, err := r.key(record)
	if err == nil {
		item.body, err = json.Marshal(key)
	}
	if err != nil {
		item.problem = err.Error()
	}
	return item, nil
}

// key makes a key of a line.
func (r *csvReader) key(record []string) (*client.ImportRequest, error) {
	if len(record) != len(r.columns) {
		return nil, fmt.Errorf("has %d fields, and the first line has %d", len(record), len(r.columns))
	}
	key := &client.ImportRequest{}
	for i, name := range r.columns {
		if record[i] == "" {
			continue
		}
		if err := csvColumns[name](key, record[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if limit := key.RateLimitPolicy; limit != nil {
		switch {
		case limit.Quota == 0:
			return nil, errors.New("rate_limit_window: goes with rate_limit_quota")
		case limit.Window == "":
			limit.Window = defaultWindow
		}
	}
	return key, nil
}
