package core_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	attackHeading = regexp.MustCompile(`^## (\d+)\. \S`)
	attackBullet  = regexp.MustCompile("^- `([^`]+)` `([^`]+)`$")
	testFunction  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	attackTest    = regexp.MustCompile(`^TestAttack(\d+(?:And\d+)*)_`)
	attackCase    = regexp.MustCompile(`"(attack (\d+)[^"]*)"`)
)

// ATTACKS.md is true: each test that it names exists, and each test and case that is named after an attack has its line
// under the attack's number.
func TestAttacks_TheListNamesTheTestsThereAre(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("ATTACKS.md")
	if err != nil {
		t.Fatal(err)
	}
	// Lines of the list by number: "package name".
	listed := map[int][]string{}
	number := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if m := attackHeading.FindStringSubmatch(line); m != nil {
			if number++; m[1] != strconv.Itoa(number) {
				t.Fatalf("%q: the number is not %d", line, number)
			}
		}
		if !strings.HasPrefix(line, "- ") || number == 0 {
			continue
		}
		m := attackBullet.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("%q is not a package and a test", line)
			continue
		}
		if name := m[1] + " " + m[2]; slices.Contains(listed[number], name) {
			t.Errorf("attack %d names a test twice: %s", number, name)
		} else {
			listed[number] = append(listed[number], name)
		}
	}
	exist, named := testsOfTheModule(t)
	for n := 1; n <= number; n++ {
		if len(listed[n]) == 0 {
			t.Errorf("attack %d has no test", n)
		}
		for _, name := range listed[n] {
			if !exist[name] {
				t.Errorf("attack %d names a test that does not exist: %s", n, name)
			}
		}
	}
	for n, names := range named {
		for _, name := range names {
			if !slices.Contains(listed[n], name) {
				t.Errorf("attack %d does not list %s", n, name)
			}
		}
	}
}

// testsOfTheModule returns all tests, fuzz targets and cases that are named after an attack, as "package name", and
// those that are named after an attack by its number. Cases are also in the conformance suite, which is no test file.
func testsOfTheModule(t *testing.T) (exist map[string]bool, named map[int][]string) {
	t.Helper()
	exist, named = map[string]bool{}, map[int][]string{}
	add := func(digits, name string) {
		n, err := strconv.Atoi(digits)
		if err != nil {
			t.Fatal(err)
		}
		named[n] = append(named[n], name)
	}
	root := ".."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root:
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		in := filepath.ToSlash(dir) + " "
		for _, m := range attackCase.FindAllStringSubmatch(string(text), -1) {
			exist[in+m[1]] = true
			add(m[2], in+m[1])
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		for _, m := range testFunction.FindAllStringSubmatch(string(text), -1) {
			exist[in+m[1]] = true
			if a := attackTest.FindStringSubmatch(m[1]); a != nil {
				for digits := range strings.SplitSeq(a[1], "And") {
					add(digits, in+m[1])
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return exist, named
}
