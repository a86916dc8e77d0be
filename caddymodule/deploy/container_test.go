package deploy_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The steps of Containerfile build an image, and the services of compose.yaml run in it: see testdata/container.sh.
func TestImage_IsBuiltAndRunsTheServices(t *testing.T) {
	t.Parallel()
	needs(t, envNamespaces)
	repository, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	stages := readContainerfile(t)
	image := &stages[1]
	write(t, filepath.Join(dir, "build.sh"), buildSteps(t, &stages[0]))
	write(t, filepath.Join(dir, "image.sh"), imageSteps(t, image))
	write(t, filepath.Join(dir, "files"), strings.Join(contextFiles(t), "\x00"))

	c := readCompose(t)
	gate, app := c.Services["gate"], c.Services["app"]
	entry := image.the(t, "ENTRYPOINT").args
	var gateEnv []string
	for name, value := range gate.Environment {
		gateEnv = append(gateEnv, name+"="+value)
	}
	var variables strings.Builder
	for name, list := range map[string][]string{
		"SRC":        {repository},
		"CACHES":     goEnv(t, "GOROOT", "GOCACHE", "GOMODCACHE"),
		"IMAGE_USER": {image.the(t, "USER").text},
		"ENV":        image.the(t, "ENV").args,
		"HEALTH":     image.the(t, "HEALTHCHECK").args,
		"GATE_ENV":   gateEnv,
		"GATE_CMD":   slices.Concat(entry, image.the(t, "CMD").args),
		"APP_CMD":    slices.Concat(entry, app.Command),
		"PROMETHEUS": {os.Getenv(envPrometheus)},
	} {
		fmt.Fprintf(&variables, "%s='%s'\n", name, strings.Join(list, " "))
	}
	write(t, filepath.Join(dir, "variables"), variables.String())

	cache := goEnv(t, "GOCACHE", "GOMODCACHE")
	asRoot(t, "container.sh", dir, "GOCACHE="+cache[0], "GOMODCACHE="+cache[1])
}

func goEnv(t *testing.T, names ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"env"}, names...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// contextFiles are the files that are sent to the build.
func contextFiles(t *testing.T) (files []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	folders := sent(t)
	for file := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		top, _, _ := strings.Cut(file, "/")
		if _, err := os.Lstat(filepath.Join(root, file)); err == nil && slices.Contains(folders, top) {
			files = append(files, file)
		}
	}
	return files
}

// buildSteps is a script that does what the first stage says.
func buildSteps(t *testing.T, s *stage) string {
	t.Helper()
	var script strings.Builder
	for _, in := range s.instructions {
		switch in.word {
		case "WORKDIR":
			if in.text != "/src" {
				t.Fatalf("WORKDIR %s: the files are put into /src", in.text)
			}
			script.WriteString("cd /src\n")
		case "COPY":
			if in.text != ". ." {
				t.Fatalf("COPY %s: everything is put into /src", in.text)
			}
		case "RUN":
			script.WriteString(in.text + "\n")
		default:
			t.Fatalf("%s: unknown in this stage", in.word)
		}
	}
	return script.String()
}

// imageSteps is a script that does what the last stage copies.
func imageSteps(t *testing.T, s *stage) string {
	t.Helper()
	var script strings.Builder
	for _, in := range s.instructions {
		if in.word != "COPY" {
			continue
		}
		from := `"$SRC/` + in.args[0] + `"`
		if in.flags["from"] == "build" {
			from = "layers/build" + in.args[0]
		}
		owner := in.flags["chown"]
		if owner == "" {
			owner = "0:0"
		}
		fmt.Fprintf(&script, "copy %s %s image%s\n", owner, from, in.args[1])
	}
	return script.String()
}
