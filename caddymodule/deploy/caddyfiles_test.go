package deploy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
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

// gateCaddyfiles are the Caddyfiles with a gate, by the files that they are in.
func gateCaddyfiles(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"container/Caddyfile":       read(t, "container/Caddyfile"),
		"systemd/node.caddyfile":    read(t, "systemd/node.caddyfile"),
		"systemd/sidecar.caddyfile": read(t, "systemd/sidecar.caddyfile"),
		"kubernetes/sidecar.yaml":   configMapCaddyfile(t),
	}
}

func TestCaddyfiles_AreFormattedAndValid(t *testing.T) {
	t.Parallel()
	all := gateCaddyfiles(t)
	all["container/app.caddyfile"] = read(t, "container/app.caddyfile")
	for name, text := range all {
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
	for name, text := range gateCaddyfiles(t) {
		dir := t.TempDir()
		file := filepath.Join(dir, "Caddyfile")
		write(t, file, text)
		out, err := talos(t, dir, nil, "adapt", "--config", file)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var config caddy.Config
		if err := json.Unmarshal([]byte(out), &config); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if a := config.Admin; a == nil || !a.Disabled && !strings.HasPrefix(a.Listen, "unix/") {
			t.Errorf("%s: every user of the machine reaches Caddy's admin endpoint", name)
		} else if a.Config == nil || a.Config.Persist == nil || *a.Config.Persist {
			t.Errorf("%s: the configuration is saved to a file", name)
		}
		// A site's log without a format of its own is redacted only if it is a part of the default log.
		if config.Logging == nil || config.Logging.Logs["default"] == nil {
			t.Fatalf("%s: the default log is not redacted", name)
		}
		for log, settings := range config.Logging.Logs {
			if !bytes.Contains(settings.EncoderRaw, []byte(`"format":"talos_redact"`)) {
				t.Errorf("%s: the log %s is not redacted: %s", name, log, settings.EncoderRaw)
			}
		}
	}
}
