package deploy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// instruction is a line of a Containerfile: its word, its flags, and the rest as words.
type instruction struct {
	word  string
	flags map[string]string
	args  []string
	text  string // the rest, unsplit
}

// stage is what follows a FROM.
type stage struct {
	base, name   string
	instructions []instruction
}

func readContainerfile(t *testing.T) (stages []stage) {
	t.Helper()
	for line := range strings.Lines(read(t, "container/Containerfile")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasSuffix(line, `\`) {
			t.Fatalf("%q: this reader knows no lines that go on", line)
		}
		in := instruction{flags: map[string]string{}}
		in.word, in.text, _ = strings.Cut(line, " ")
		for strings.HasPrefix(in.text, "--") {
			var flag string
			flag, in.text, _ = strings.Cut(in.text, " ")
			name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
			in.flags[name] = value
		}
		in.args = words(t, in.text)
		if in.word == "FROM" {
			s := stage{base: in.args[0]}
			if len(in.args) == 3 && in.args[1] == "AS" {
				s.name = in.args[2]
			}
			stages = append(stages, s)
			continue
		}
		last := &stages[len(stages)-1]
		last.instructions = append(last.instructions, in)
	}
	return stages
}

// words reads the two forms of arguments: words, and a list in JSON.
func words(t *testing.T, text string) (list []string) {
	t.Helper()
	_, array, ok := strings.Cut(text, "[")
	if !ok {
		return strings.Fields(text)
	}
	if err := json.Unmarshal([]byte("["+array), &list); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return list
}

// the returns the one instruction of a word.
func (s *stage) the(t *testing.T, word string) instruction {
	t.Helper()
	var found []instruction
	for _, in := range s.instructions {
		if in.word == word {
			found = append(found, in)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d times %s", len(found), word)
	}
	return found[0]
}

func TestContainerfile_MakesAnImageOfTheBinaryAlone(t *testing.T) {
	t.Parallel()
	stages := readContainerfile(t)
	if len(stages) != 2 || stages[0].name != "build" || stages[1].base != "scratch" {
		t.Fatalf("stages: %+v", stages)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	if want := "golang:" + string(version[1]); stages[0].base != want {
		t.Errorf("it builds with %s, and go.mod needs %s", stages[0].base, want)
	}
	image := &stages[1]
	if user := image.the(t, "USER").text; !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user) {
		t.Errorf("USER %s: Kubernetes' runAsNonRoot needs a number other than 0", user)
	}
	entry, health := image.the(t, "ENTRYPOINT"), image.the(t, "HEALTHCHECK")
	if !slices.Equal(entry.args, []string{"/talos"}) || health.args[0] != "/talos" {
		t.Errorf("ENTRYPOINT %q, HEALTHCHECK %q", entry.args, health.args)
	}
	config := image.the(t, "CMD").args[2]
	var copied []string
	for _, in := range image.instructions {
		if in.word != "COPY" {
			continue
		}
		copied = append(copied, in.args[1])
		if _, err := os.Stat(filepath.Join(root, in.args[0])); in.flags["from"] == "" && err != nil {
			t.Error(err)
		}
	}
	if !slices.Contains(copied, config) || !slices.Contains(copied, entry.args[0]) {
		t.Errorf("it runs %s with %s, and has %q", entry.args[0], config, copied)
	}
}

// sent are the files of the repository that are sent to the build: the list of what is ignored ignores everything, and
// then names exceptions.
func sent(t *testing.T) (folders []string) {
	t.Helper()
	var ignored []string
	for line := range strings.Lines(read(t, "container/Containerfile.dockerignore")) {
		line = strings.TrimSpace(line)
		switch name, exception := strings.CutPrefix(line, "!"); {
		case line == "" || strings.HasPrefix(line, "#"):
		case exception:
			folders = append(folders, name)
		default:
			ignored = append(ignored, line)
		}
	}
	if len(ignored) == 0 || ignored[0] != "*" {
		t.Errorf("not everything is ignored first: %q", ignored)
	}
	return folders
}

func TestContainerfile_GetsEachPackageAndNothingElse(t *testing.T) {
	t.Parallel()
	want := []string{"go.mod", "go.sum"}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			want = append(want, e.Name())
		}
	}
	got := sent(t)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("sent are %q, and the packages are in %q", got, want)
	}
}
