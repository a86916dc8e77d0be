package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// format is how an answer is printed.
type format string

// The formats. All but table print the server's answer and nothing else.
const (
	formatTable  format = "table"
	formatJSON   format = "json"
	formatPretty format = "json-pretty"
	formatYAML   format = "yaml"
)

// formats are the names, for help and completion.
var formats = []string{string(formatTable), string(formatJSON), string(formatPretty), string(formatYAML)}

// String, Set and Type make format a flag value; a name that is unknown is refused before anything is sent.
func (f *format) String() string { return string(*f) }

// Set takes a format's name.
func (f *format) Set(s string) error {
	switch v := format(s); v {
	case formatTable, formatJSON, formatPretty, formatYAML:
		*f = v
		return nil
	default:
		return errors.New("must be table, json, json-pretty or yaml")
	}
}

// Type is what help calls the value.
func (f *format) Type() string { return "format" }

// printAnswer prints the server's answer: as it came, indented, or as YAML. It is not for tables.
func printAnswer(w io.Writer, f format, answer json.RawMessage) error {
	var b bytes.Buffer
	switch f {
	case formatPretty:
		if err := json.Indent(&b, answer, "", "  "); err != nil {
			return fmt.Errorf("reading the server's answer: %w", err)
		}
	case formatYAML:
		if err := writeYAML(&b, answer); err != nil {
			return fmt.Errorf("reading the server's answer: %w", err)
		}
	default:
		b.Write(answer)
	}
	if b.Len() == 0 || b.Bytes()[b.Len()-1] != '\n' {
		b.WriteByte('\n')
	}
	_, err := w.Write(b.Bytes())
	return err
}
