package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// configMapCaddyfile is the Caddyfile in the Kubernetes manifest.
func configMapCaddyfile(t *testing.T) string {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(read(t, "kubernetes/sidecar.yaml")))
	for {
		var object struct {
			Kind string            `yaml:"kind"`
			Data map[string]string `yaml:"data"`
		}
		if err := decoder.Decode(&object); err != nil {
			t.Fatal(err)
		}
		if object.Kind == "ConfigMap" {
			return object.Data["Caddyfile"]
		}
	}
}

// tlsSecret writes the files that the manifest's Secret has.
func tlsSecret(t *testing.T, from, dir string) {
	t.Helper()
	for to, file := range map[string]string{"tls.crt": "sidecar.pem", "tls.key": "sidecar.key", "ca.crt": "ca.pem"} {
		b, err := os.ReadFile(filepath.Join(from, file))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, to), string(b))
	}
}

func TestCaddyfiles_AreFormattedAndValid(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"container/Caddyfile":       read(t, "container/Caddyfile"),
		"container/app.caddyfile":   read(t, "container/app.caddyfile"),
		"systemd/node.caddyfile":    read(t, "systemd/node.caddyfile"),
		"systemd/sidecar.caddyfile": read(t, "systemd/sidecar.caddyfile"),
		"kubernetes/sidecar.yaml":   configMapCaddyfile(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			credentials(t, dir)
			tlsSecret(t, dir, dir)
			config := filepath.Join(dir, "Caddyfile")
			write(t, config, strings.ReplaceAll(text, "/etc/talos/tls", filepath.ToSlash(dir)))
			env := []string{"CREDENTIALS_DIRECTORY=" + filepath.ToSlash(dir)}
			for _, args := range [][]string{{"fmt", "--diff", config}, {"validate", "--config", config}} {
				if _, err := talos(t, dir, env, args...); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestCaddyfiles_HaveTheAdminEndpointOffOrOnASocketAndRedactedLogs(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"container/Caddyfile":       read(t, "container/Caddyfile"),
		"systemd/node.caddyfile":    read(t, "systemd/node.caddyfile"),
		"systemd/sidecar.caddyfile": read(t, "systemd/sidecar.caddyfile"),
		"kubernetes/sidecar.yaml":   configMapCaddyfile(t),
	} {
		if !strings.Contains(text, "\n\tadmin off\n") && !strings.Contains(text, "\n\tadmin unix//run/") {
			t.Errorf("%s: Caddy's admin endpoint can be reached by whoever is on the machine", name)
		}
		if !strings.Contains(text, "\n\tpersist_config off\n") {
			t.Errorf("%s: the configuration is saved to a file", name)
		}
		if strings.Count(text, "format talos_redact json\n") != 1+strings.Count(text, "\n\tlog {\n") {
			t.Errorf("%s: a log is not redacted", name)
		}
	}
}
