package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/talos-edge/talos-edge"

// root is the repository.
func root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func goTool(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root(t)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// The rules of the house: what a package may need, through all that it imports.
func TestLayout_ImportsPointInward(t *testing.T) {
	t.Parallel()
	// What is beside or above the node, of which none needs another.
	var aboveNode []string
	for _, name := range []string{"", "/gate", "/admin", "/public", "/command", "/loadtest", "/talos"} {
		aboveNode = append(aboveNode, module+"/caddymodule"+name)
	}
	without := func(list []string, name string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == module+"/caddymodule"+name })
	}
	rules := []struct {
		packages string   // beneath the module
		never    []string // import paths; one that ends in a slash covers all beneath it
	}{
		{"core", []string{module + "/storage", module + "/storage/", module + "/adminapi", module + "/adminapi/",
			module + "/caddymodule", module + "/caddymodule/", "github.com/caddyserver/", "database/sql", "net/http"}},
		{"core/verify", []string{module + "/core/engine"}},
		{"core/engine", []string{module + "/core/verify"}},
		{"storage", []string{
			module + "/core/engine", module + "/adminapi", module + "/adminapi/",
			module + "/caddymodule", module + "/caddymodule/", "github.com/caddyserver/",
		}},
		{"adminapi", []string{
			module + "/storage", module + "/storage/", module + "/caddymodule", module + "/caddymodule/",
			"github.com/caddyserver/", "database/sql",
		}},
		{"adminapi/httpcred", []string{
			module + "/adminapi", module + "/adminapi/client", module + "/core/engine", module + "/core/verify",
		}},
		{"adminapi/client", []string{module + "/adminapi", module + "/core", module + "/core/"}},
		{"caddymodule/node", aboveNode},
		{"caddymodule/gate", without(aboveNode, "/gate")},
		{"caddymodule/admin", without(aboveNode, "/admin")},
		{"caddymodule/public", without(aboveNode, "/public")},
		{"caddymodule/redact", append(without(aboveNode, "/redact"), module+"/caddymodule/node")},
		{"caddymodule/command", without(aboveNode, "/command")},
		{"caddymodule/backup", aboveNode},
		{"caddymodule/doctor", aboveNode},
	}
	seen := map[string]bool{}
	for line := range strings.Lines(goTool(t, "list", "-f", `{{.ImportPath}} {{join .Deps " "}}`, "./...")) {
		fields := strings.Fields(line)
		pkg, deps := strings.TrimPrefix(fields[0], module+"/"), fields[1:]
		for _, rule := range rules {
			if pkg != rule.packages && !strings.HasPrefix(pkg, rule.packages+"/") {
				continue
			}
			seen[rule.packages] = true
			for _, dep := range deps {
				for _, never := range rule.never {
					if dep == never || strings.HasSuffix(never, "/") && strings.HasPrefix(dep, never) {
						t.Errorf("%s needs %s", pkg, dep)
					}
				}
			}
		}
		for _, forTests := range []string{"storage/storagetest", "storage/pgtest"} {
			if slices.Contains(deps, module+"/"+forTests) {
				t.Errorf("%s needs %s, which is for tests", pkg, forTests)
			}
		}
	}
	for _, rule := range rules {
		if !seen[rule.packages] {
			t.Errorf("no package in %s: has it moved?", rule.packages)
		}
	}
}

// Go files at the root would be a package that is none of the layout's; a folder there is one beside the four.
func TestLayout_TheRootHasFourFoldersAndNoGoFile(t *testing.T) {
	t.Parallel()
	folders := []string{"adminapi", "caddymodule", "core", "storage"}
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() && !strings.HasPrefix(name, ".") && !slices.Contains(folders, name) {
			t.Errorf("the folder %s does not belong at the root", name)
		}
		if strings.HasSuffix(name, ".go") {
			t.Errorf("%s does not belong at the root", name)
		}
	}
}

func TestLayout_EachPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	for line := range strings.Lines(goTool(t, "list", "-f", `{{.Dir}}	{{.Name}}	{{.Doc}}`, "./...")) {
		dir, rest, _ := strings.Cut(strings.TrimSpace(line), "\t")
		name, doc, _ := strings.Cut(rest, "\t")
		if name == "main" {
			if !strings.HasPrefix(doc, "Command ") {
				t.Errorf("%s: a command's comment begins with its name", dir)
			}
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "doc.go")); err != nil {
			t.Errorf("%s has no doc.go", dir)
		}
		if !strings.HasPrefix(doc, "Package "+name+" ") {
			t.Errorf("%s: doc.go does not say what the package is for", dir)
		}
	}
}

func TestXcaddy_AgreesWithGoModAndTheREADME(t *testing.T) {
	t.Parallel()
	var builder struct {
		CaddyVersion string `json:"caddy_version"`
		Plugins      []struct {
			ModulePath string `json:"module_path"`
		} `json:"plugins"`
		Replacements []struct {
			Old string `json:"old"`
			New string `json:"new"`
		} `json:"replacements"`
	}
	if err := json.Unmarshal([]byte(readFile(t, "xcaddy.json")), &builder); err != nil {
		t.Fatal(err)
	}
	mod := readFile(t, "go.mod")
	if !regexp.MustCompile(`(?m)^module ` + regexp.QuoteMeta(module) + `$`).MatchString(mod) {
		t.Errorf("go.mod is not of %s", module)
	}
	if want := "github.com/caddyserver/caddy/v2 " + builder.CaddyVersion + "\n"; !strings.Contains(mod, want) {
		t.Errorf("go.mod does not require %q", strings.TrimSpace(want))
	}
	if strings.Contains(mod, "\nreplace ") {
		t.Error("go.mod has replacements: a build with xcaddy would not see them")
	}
	if len(builder.Plugins) != 1 || builder.Plugins[0].ModulePath != module+"/caddymodule" {
		t.Fatalf("plugins are %+v", builder.Plugins)
	}
	if len(builder.Replacements) != 1 || builder.Replacements[0].Old != module || builder.Replacements[0].New != "." {
		t.Fatalf("replacements are %+v", builder.Replacements)
	}
	readme := strings.Join(strings.Fields(readFile(t, "README.md")), " ")
	build := "xcaddy build " + builder.CaddyVersion + " --with " + builder.Plugins[0].ModulePath
	for _, want := range []string{"```sh " + build + " ```", build + " --replace " + module + "=."} {
		if !strings.Contains(readme, want) {
			t.Errorf("the README does not say %q", want)
		}
	}
}

// A Caddy built with the module alone is what xcaddy makes of xcaddy.json: a main package of three imports, in a module
// of its own that replaces ours by the checkout.
func TestXcaddy_TheModuleBuildsIntoAPlainCaddyWithTheCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("main.go", `package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "`+module+`/caddymodule"
)

func main() { caddycmd.Main() }
`)
	mod := readFile(t, "go.mod")
	write("go.mod", strings.Replace(mod, "module "+module, "module caddy", 1)+
		"\nrequire "+module+" v0.0.0\n\nreplace "+module+" => "+root(t)+"\n")
	write("go.sum", readFile(t, "go.sum"))
	run := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	binary := filepath.Join(dir, "caddy.exe")
	run("go", "build", "-mod=mod", "-o", binary, ".")
	for _, want := range []string{
		"talos", "http.handlers.talos_gate", "http.handlers.talos_admin", "http.handlers.talos_public",
	} {
		if modules := run(binary, "list-modules"); !strings.Contains(modules, want+"\n") {
			t.Errorf("the built Caddy has no module %s", want)
		}
	}
	if help := run(binary, "talos", "keys", "issue", "--help"); !strings.Contains(help, "--actor") {
		t.Errorf("caddy talos keys issue --help says\n%s", help)
	}
}
