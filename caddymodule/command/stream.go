package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// arrayStream writes an object with one array, whose items are not known yet: one by one, and the members behind the
// array at the end. It is not for tables.
type arrayStream struct {
	w      io.Writer
	format format
	name   string // of the array
	begun  bool
}

// member is a member of the object that follows the array.
type member struct {
	name  string
	value int
}

// add writes an item.
func (s *arrayStream) add(item json.RawMessage) error {
	var b bytes.Buffer
	before := map[format]string{
		formatJSON:   `{"` + s.name + `":[`,
		formatPretty: "{\n  \"" + s.name + "\": [\n    ",
		formatYAML:   s.name + ":\n",
	}
	if s.begun {
		before = map[format]string{formatJSON: ",", formatPretty: ",\n    "}
	}
	s.begun = true
	b.WriteString(before[s.format])
	var err error
	switch s.format {
	case formatPretty:
		err = json.Indent(&b, item, "    ", "  ")
	case formatYAML:
		var text bytes.Buffer
		err = writeYAML(&text, append(append([]byte("["), item...), ']'))
		for line := range strings.Lines(text.String()) {
			b.WriteString("  " + line)
		}
	default:
		b.Write(item)
	}
	if err != nil {
		return err
	}
	_, err = s.w.Write(b.Bytes())
	return err
}

// addAll writes the items of the array in an answer. Where there is none, it has no items.
func (s *arrayStream) addAll(answer json.RawMessage) error {
	items, err := itemsOf(answer, s.name)
	if err != nil {
		return err
	}
	for _, item := range items {
		if err := s.add(item); err != nil {
			return err
		}
	}
	return nil
}

// itemsOf are the items of an array in an answer. Where there is no array, it has no items.
func itemsOf(answer json.RawMessage, name string) (items []json.RawMessage, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(answer, &members); err != nil {
		return nil, fmt.Errorf("reading the server's answer: %w", err)
	}
	if raw := members[name]; raw != nil {
		if err := json.Unmarshal(raw, &items); err != nil {
			return nil, fmt.Errorf("reading the server's answer: %w", err)
		}
	}
	return items, nil
}

// end writes the end of the array, and what follows it.
func (s *arrayStream) end(members ...member) error {
	var b strings.Builder
	if !s.begun {
		b.WriteString(map[format]string{
			formatJSON:   `{"` + s.name + `":[`,
			formatPretty: "{\n  \"" + s.name + "\": [", formatYAML: s.name + ": []\n",
		}[s.format])
	}
	switch {
	case s.format == formatJSON:
		b.WriteString("]")
	case s.format == formatPretty && s.begun:
		b.WriteString("\n  ]")
	case s.format == formatPretty:
		b.WriteString("]")
	}
	for _, m := range members {
		fmt.Fprintf(&b, map[format]string{
			formatJSON: ",%q:%d", formatPretty: ",\n  %q: %d", formatYAML: "%s: %d\n",
		}[s.format], m.name, m.value)
	}
	b.WriteString(map[format]string{formatJSON: "}\n", formatPretty: "\n}\n"}[s.format])
	_, err := io.WriteString(s.w, b.String())
	return err
}
