package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/internal/build"
)

// The manual pages hold the help of every command.
func TestNoHelpOfTheBinaryNamesTheCommandCaddy(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	pages := filepath.Join(dir, "man")
	if _, exit := runBinary(t, env, "manpage", "--directory", pages); exit != 0 {
		t.Fatalf("manpage: exit status %d", exit)
	}
	files, err := filepath.Glob(filepath.Join(pages, "*"))
	if err != nil || len(files) < 40 {
		t.Fatalf("%v, %d pages", err, len(files))
	}
	called := regexp.MustCompile(`(?m).*\bcaddy [a-z].*`) // the product is Caddy
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if line := called.Find(text); line != nil {
			t.Errorf("%s: %s", filepath.Base(file), line)
		}
		if name := filepath.Base(file); !strings.HasPrefix(name, "talos") || strings.Contains(name, "upgrade") ||
			strings.Contains(name, "package") {
			t.Errorf("there is a page %s", name)
		}
	}
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"help", "keys", "issue"}, {"storage", "--help"}} {
		help, exit := runBinary(t, env, args...)
		if exit != 0 || !strings.HasSuffix(help, "\nDocumentation: "+repository+"\n") ||
			strings.Contains(help, "caddyserver.com/docs/command-line") {
			t.Errorf("%v: exit status %d, ends in %q", args, exit, help[max(0, len(help)-80):])
		}
	}
}

func TestCommandsThatCannotWorkSayWhatToDoInstead(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	help, _ := runBinary(t, env, "--help")
	for name, want := range map[string]string{
		"upgrade": repository, "add-package": "xcaddy build", "remove-package": "xcaddy build",
	} {
		if strings.Contains(help, name) {
			t.Errorf("--help shows %s", name)
		}
		stdout, stderr, exit := runBinaryBoth(t, env, name, "example.com/x")
		if exit != 1 || stdout != "" || !strings.Contains(stderr, "not available in talos") ||
			!strings.Contains(stderr, want) {
			t.Errorf("%s: exit status %d, %s%s", name, exit, stdout, stderr)
		}
	}
}

func TestMistakesAtTheTopAreAnsweredWithTheNearestName(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	for given, want := range map[string]string{
		"relod --config x":    "did you mean talos reload?",
		"storage exprt":       "did you mean talos storage export?",
		"reload --confg x":    "did you mean --config?",
		"help keys isue":      "did you mean talos keys issue?",
		testSecret:            "unknown command; see talos --help",
		"help " + testSecret:  "unknown command; see talos --help",
		"run --" + testSecret: "unknown option; see talos run --help",
	} {
		stdout, stderr, exit := runBinaryBoth(t, env, strings.Fields(given)...)
		if exit != 1 || stdout != "" || !strings.Contains(stderr, want) || strings.Contains(stderr, testSecret) {
			t.Errorf("%s: exit status %d, %s%s, want %q", given, exit, stdout, stderr, want)
		}
	}
}

func TestVersionIsOursAndCaddys(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	table, exit := runBinary(t, env, "version")
	if exit != 0 || !strings.HasPrefix(table, "TALOS EDGE ") || !strings.Contains(table, "\nCADDY  ") {
		t.Errorf("version: exit status %d, %s", exit, table)
	}
	out, exit := runBinary(t, env, "version", "--format", "json")
	var got build.Info
	if err := json.Unmarshal([]byte(out), &got); err != nil || exit != 0 || got.Version == "" ||
		!strings.HasPrefix(got.Caddy, "v2.") || !strings.HasPrefix(got.Go, "go") {
		t.Errorf("version --format json: %v, exit status %d, %s", err, exit, out)
	}
	if line, exit := runBinary(t, env, "--version"); exit != 0 || !strings.HasPrefix(line, "talos ") {
		t.Errorf("--version: exit status %d, %s", exit, line)
	}

	ours := debug.BuildInfo{
		GoVersion: "go1.99", Main: debug.Module{Path: build.ModulePath, Version: "v1.2.3"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"},
			{Key: "vcs.modified", Value: "true"},
		},
	}
	want := build.Info{
		Version: "v1.2.3", Revision: "abc", Time: "2026-01-02T03:04:05Z", Modified: true, Caddy: "v2", Go: "go1.99",
	}
	if got := build.Of(&ours, "v2"); got != want {
		t.Errorf("of our binary: %+v", got)
	}
	others := debug.BuildInfo{
		GoVersion: "go1.99", Main: debug.Module{Path: "caddy", Version: "v9"},
		Deps:     []*debug.Module{{Path: build.ModulePath, Version: "v1.2.4"}},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "of another"}},
	}
	want = build.Info{Version: "v1.2.4", Caddy: "v2", Go: "go1.99"}
	if got := build.Of(&others, "v2"); got != want {
		t.Errorf("of a Caddy with the module: %+v", got)
	}
}
