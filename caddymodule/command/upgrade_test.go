package command

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/talos-edge/talos-edge/storage/pgtest"
)

// Migrations of builds that come after this one.
const (
	expands = "-- +goose Up\nALTER TABLE keys ADD COLUMN added_later INTEGER NOT NULL DEFAULT 7;\n" +
		"-- +goose Down\nALTER TABLE keys DROP COLUMN added_later;\n"
	contracts = "-- +goose Up\nUPDATE compatibility SET oldest = %d;\n" +
		"-- +goose Down\nUPDATE compatibility SET oldest = 1;\n"
)

// later builds this source with more migrations, as a build of the future has them.
func later(t *testing.T, migrations ...string) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for _, engine := range []string{"sqlite", "postgres"} {
		folder, err := filepath.Abs(filepath.Join("..", "..", "storage", engine, "migrations"))
		if err != nil {
			t.Fatal(err)
		}
		known, err := filepath.Glob(filepath.Join(folder, "*.sql"))
		if err != nil || len(known) == 0 {
			t.Fatal("no migrations", err)
		}
		for i, text := range migrations {
			version := len(known) + i + 1
			if strings.Contains(text, "%d") {
				text = fmt.Sprintf(text, version)
			}
			name := fmt.Sprintf("%05d_later.sql", version)
			file := filepath.Join(dir, engine+name)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			replace[filepath.Join(folder, name)] = file
		}
	}
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "talos")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-overlay", overlay, "-o", name,
		"github.com/talos-edge/talos-edge/caddymodule/talos")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return name
}

func TestUpgrade_BuildsRunSideBySide(t *testing.T) {
	t.Parallel()
	builds := sync.OnceValues(func() (next, afterNext string) {
		return later(t, expands), later(t, expands, contracts)
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		dir, env := home(t)
		upgrade(t, append(env, envDSN+"=sqlite://"+filepath.Join(dir, "talos.db")), builds)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		n := newNodes(t, pgtest.Shared(t))
		_, env := home(t)
		upgrade(t, append(append(env, n.env...), envDSN+"="+n.dsn), builds)
	})
}

// upgrade replaces this build by the next one while both run on a database, and then by one that this build must not
// run beside.
func upgrade(t *testing.T, env []string, builds func() (next, afterNext string)) {
	t.Helper()
	next, afterNext := builds()
	now := serveBinary(t, env)
	secret, _ := now.issue(t)

	newer := serveProgram(t, next, env)
	newer.wantVerdict(t, secret, true)
	fresh, keyID := now.issue(t) // into the table that the next build has migrated
	newer.wantVerdict(t, fresh, true)
	if out, exit := newer.talos(t, "keys", "revoke", keyID, "--wait", "30s"); exit != 0 {
		t.Errorf("revoking: %d\n%s", exit, out)
	}
	now.wantVerdict(t, fresh, false)

	if err := now.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	now = serveBinary(t, env) // going back is starting the build before again
	now.wantVerdict(t, secret, true)
	if out, exit := runBinary(t, env, "migrate", "status"); exit != 0 || !strings.Contains(out, "may run on it") {
		t.Errorf("status: %d\n%s", exit, out)
	}

	if out, err := program(t, afterNext, env, "migrate", "up"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, stderr, exit := runBinaryBoth(t, env, "serve")
	if exit == 0 || !strings.Contains(stderr, "run the newer build") {
		t.Errorf("a build that the schema excludes: %d\n%s", exit, stderr)
	}
}

func program(t *testing.T, name string, env []string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = env
	return cmd.CombinedOutput()
}
