package command

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// field is a line of a table of one thing: its name and its value.
type field struct{ name, value string }

// printFields prints the fields that have a value, one a line.
func printFields(w io.Writer, fields ...field) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		if f.value != "" {
			if _, err := fmt.Fprintf(t, "%s\t%s\n", f.name, printable(f.value)); err != nil {
				return err
			}
		}
	}
	return t.Flush()
}

// printRows prints a table of several things; without a head, rows that follow others. An empty cell reads "-".
func printRows(w io.Writer, head []string, rows [][]string) error {
	if head != nil {
		rows = append([][]string{head}, rows...)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(orDash(cell))
		}
		if _, err := fmt.Fprintln(t, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// orDash is what a cell shows: of an empty one "-".
func orDash(cell string) string {
	if cell == "" {
		return "-"
	}
	return cell
}

// printable makes text safe for a terminal: a name that somebody chose must not move the cursor, change colours or
// begin a line of its own.
func printable(s string) string {
	safe := func(r rune) bool { return unicode.IsPrint(r) && r != unicode.ReplacementChar }
	if strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if safe(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// word makes a word for people of a value of an enum: KEY_STATUS_ACTIVE is active.
func word(value, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(value, prefix)), "_", " ")
}
