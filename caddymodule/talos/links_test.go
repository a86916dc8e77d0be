package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	fenced   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	inlined  = regexp.MustCompile("`[^`\\n]+`")
	linked   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headings = regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped  = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// anchor is the name under which a heading can be linked to.
func anchor(heading string) string {
	heading = linked.ReplaceAllString(heading, "]")
	return strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), ""), " ", "-")
}

// Each relative link of a page leads to a file, and to a heading if it names one.
func TestPages_EachLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	var links int
	for name := range strings.Lines(pages(t)) {
		name = strings.TrimSpace(name)
		text := readFile(t, name)
		text = inlined.ReplaceAllString(fenced.ReplaceAllString(text, ""), "x")
		for _, m := range linked.FindAllStringSubmatch(text, -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			links++
			file := name
			if target != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(name), target))
			}
			info, err := os.Stat(filepath.Join(root(t), file))
			switch {
			case err != nil:
				t.Errorf("%s: no file %s", name, m[1])
			case fragment != "" && !info.IsDir() && !hasAnchor(readFile(t, file), fragment):
				t.Errorf("%s: no heading for %s", name, m[1])
			}
		}
	}
	if links < 50 {
		t.Errorf("%d links were found", links)
	}
}

func hasAnchor(text, fragment string) bool {
	for _, m := range headings.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		if anchor(m[1]) == fragment {
			return true
		}
	}
	return false
}

// pages are the pages of the repository, a name a line.
func pages(t *testing.T) string {
	t.Helper()
	var names strings.Builder
	err := filepath.WalkDir(root(t), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			rel, err := filepath.Rel(root(t), path)
			if err != nil {
				return err
			}
			names.WriteString(filepath.ToSlash(rel) + "\n")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names.String()
}
