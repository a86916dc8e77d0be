package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Go code that a README shows is code of an example, which go test runs.
func TestREADMEs_EachGoBlockIsAnExampleThatRuns(t *testing.T) {
	t.Parallel()
	var pages, examples []string
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && name != "." && strings.HasPrefix(name, ".") && name != ".github":
			return filepath.SkipDir
		case strings.HasSuffix(name, ".md"):
			pages = append(pages, path)
		case strings.HasPrefix(name, "example") && strings.HasSuffix(name, "_test.go"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			examples = append(examples, string(b), indented.ReplaceAllString(string(b), ""))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range blocksOf(string(b)) {
			if block.kind != "go" {
				continue
			}
			shown++
			if !isIn(examples, block.text) {
				t.Errorf("%s: no example has the lines\n%s", page, block.text)
			}
		}
	}
	if shown == 0 {
		t.Error("no page shows Go code")
	}
}

// indented is the first tab of a line: what a page shows of a function's body has one less.
var indented = regexp.MustCompile(`(?m)^\t`)

// isIn says whether one of the texts has the lines of a block.
func isIn(texts []string, block string) bool {
	for _, text := range texts {
		if strings.Contains("\n"+text, "\n"+block) {
			return true
		}
	}
	return false
}
