package caddymodule_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// manual is a page of documentation.
type manual string

func readManual(t *testing.T, name string) manual {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return manual(text)
}

// section is what follows a heading, to the next one of the same level or a higher one.
func (m manual) section(t *testing.T, heading string) manual {
	t.Helper()
	_, text, ok := strings.Cut("\n"+string(m), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the page has no section %q", heading)
	}
	level := strings.Count(strings.Fields(heading)[0], "#")
	end := regexp.MustCompile(`(?m)^#{1,` + strconv.Itoa(level) + `} `).FindStringIndex(text)
	if end != nil {
		text = text[:end[0]]
	}
	return manual(text)
}

// table is a table of a page, by its cells.
type table struct {
	header []string
	rows   [][]string
}

// tables are the tables of a page.
func (m manual) tables() (tables []table) {
	inTable := false
	for line := range strings.Lines(string(m)) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case strings.HasPrefix(line, "|---"):
		case !inTable:
			inTable = true
			tables = append(tables, table{header: cells(line)})
		default:
			last := &tables[len(tables)-1]
			last.rows = append(last.rows, cells(line))
		}
	}
	return tables
}

func cells(line string) (cells []string) {
	line = strings.ReplaceAll(line, `\|`, "\x00")
	for cell := range strings.SplitSeq(line[1:len(line)-1], "|") {
		cells = append(cells, strings.TrimSpace(strings.ReplaceAll(cell, "\x00", "|")))
	}
	return cells
}

// rows are the rows of the tables whose first heading begins with a text.
func (m manual) rows(first string) (rows [][]string) {
	for _, t := range m.tables() {
		if strings.HasPrefix(t.header[0], first) {
			rows = append(rows, t.rows...)
		}
	}
	return rows
}

var inCode = regexp.MustCompile("`([^`]+)`")

// code returns what is in code spans, and not in blocks.
func code(text string) (spans []string) {
	text = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
	for _, m := range inCode.FindAllStringSubmatch(text, -1) {
		spans = append(spans, m[1])
	}
	return spans
}
