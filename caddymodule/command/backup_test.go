package command

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/caddymodule/backup"
)

// backupOf runs the command, and returns what it says.
func backupOf(t *testing.T, env []string, args ...string) (stdout []byte, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t), append([]string{"backup"}, args...)...)
	cmd.Env = env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.Bytes(), errs.String(), err
}

// unpack unpacks an archive into a folder, as tar does, and returns its files.
func unpack(t *testing.T, archive []byte, folder string) (names []string) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, os.FileMode(h.Mode)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		names = append(names, h.Name)
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode != 0o600 {
			t.Errorf("%s has mode %o", h.Name, h.Mode)
		}
		if err := os.WriteFile(path, content, os.FileMode(h.Mode)); err != nil {
			t.Fatal(err)
		}
	}
}

// runManual runs a shell block of the databases' manual in a folder, and returns what it prints.
func runManual(t *testing.T, dir string, env []string, with string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.FromSlash("../../storage/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(page), "\n```sh\n")[1:] {
		script, _, closed := strings.Cut(block, "\n```\n")
		if !closed || !strings.Contains(script, with) {
			continue
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
		cmd.Dir, cmd.Env = dir, append(env, "PATH="+filepath.Dir(binary(t))+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, script, out)
		}
		return string(out)
	}
	t.Fatalf("the manual has no block with %q", with)
	return ""
}

// manifestOf reads the manifest of an unpacked archive.
func manifestOf(t *testing.T, folder string) *backup.Manifest {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "talos-backup", "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	m := new(backup.Manifest)
	if err := json.Unmarshal(text, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestABackupOfARunningServerIsRestoredIntoAnEmptyDataDirectory(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	s := serveBinary(t, env)
	good, _ := s.issue(t)
	revoked, revokedID := s.issue(t)
	if _, exit := s.talos(t, "keys", "revoke", revokedID); exit != 0 {
		t.Fatal("revoke failed")
	}
	token, exit := s.talos(t, "keys", "derive-token", good, "-q")
	if exit != 0 {
		t.Fatal("derive failed")
	}
	said := runManual(t, dir, env, "talos backup ")
	if want := "2 keys, up to change 3, with hmac_secret and signing_keys\n"; !strings.HasPrefix(
		said, "backup of sqlite://") || !strings.HasSuffix(said, want) {
		t.Errorf("it says %s", said)
	}
	file := filepath.Join(dir, "talos.tar")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".talos.tar*")); err != nil || len(left) > 0 {
		t.Errorf("left beside it: %v, %v", left, err)
	}
	lost, _ := s.issue(t)
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}

	archive, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	fresh, freshEnv := home(t)
	if err := os.WriteFile(filepath.Join(fresh, "talos.tar"), archive, 0o600); err != nil {
		t.Fatal(err)
	}
	runManual(t, fresh, freshEnv, "tar -xf ")
	names := unpack(t, archive, t.TempDir())
	want := []string{
		"talos-backup/README.txt", "talos-backup/manifest.json", "talos/hmac_secret", "talos/signing_keys", "talos.db",
		"talos.db-wal",
	}
	if !slices.Equal(names, want) {
		t.Errorf("the archive has %v, want %v", names, want)
	}
	m := manifestOf(t, filepath.Join(fresh, "data", "caddy"))
	if m.Database.Keys != 2 || m.Database.FeedPosition != 3 || len(m.Files) != 4 || len(m.Missing()) != 0 {
		t.Errorf("the manifest says %+v", m)
	}
	restored := serveBinary(t, freshEnv)
	restored.wantVerdict(t, good, true)
	restored.wantVerdict(t, strings.TrimSpace(token), true)
	restored.wantVerdict(t, revoked, false)
	restored.wantVerdict(t, lost, false)
	if secret, _ := restored.issue(t); secret == "" {
		t.Error("no key can be issued")
	}
	if log := restored.log(); !strings.Contains(log, "restored from a backup") {
		t.Errorf("the log does not say that the database was restored:\n%s", log)
	}
}

// SQLite would take a write-ahead log that an earlier database has left for that of the restored one.
func TestARestoredBackupIsNotDamagedByTheLogOfAnEarlierDatabase(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	s := serveBinary(t, env)
	good, id := s.issue(t)
	archive, said, err := backupOf(t, env, "-")
	if err != nil {
		t.Fatal(err, said)
	}
	if _, exit := s.talos(t, "keys", "revoke", id); exit != 0 {
		t.Fatal("revoke failed")
	}
	if err := s.stop(t, syscall.SIGKILL); err == nil {
		t.Error("it was not killed")
	}
	data := filepath.Join(dir, "data", "caddy")
	if info, err := os.Stat(filepath.Join(data, "talos.db-wal")); err != nil || info.Size() == 0 {
		t.Fatalf("the killed server left no log: %v", err)
	}
	unpack(t, archive, data)
	serveBinary(t, env).wantVerdict(t, good, true)
}

func TestBackupReplacesAFileOnlyByForce(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	s := serveBinary(t, env)
	s.issue(t)
	file := filepath.Join(dir, "there.tar")
	if err := os.WriteFile(file, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, said, err := backupOf(t, env, file)
	if err == nil || !strings.Contains(said, "--force") {
		t.Errorf("%v: %s", err, said)
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "precious" {
		t.Errorf("%q, %v", content, err)
	}
	if _, said, err := backupOf(t, env, "--force", file); err != nil {
		t.Error(err, said)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || info.Size() < 1000 {
		t.Errorf("%v, %v", info, err)
	}
	if _, said, err := backupOf(t, env, "--force", dir); err == nil || !strings.Contains(said, "is a directory") {
		t.Errorf("a directory: %v: %s", err, said)
	}
}

func TestBackupOfNothingSaysSoAndMakesNothing(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	file := filepath.Join(dir, "backup.tar")
	_, said, err := backupOf(t, env, file)
	if err == nil || !strings.Contains(said, "there is no database at") {
		t.Errorf("%v: %s", err, said)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("it made %v: %v", entries, err)
	}
}

func TestBackupComparesTheSecretWithTheDatabase(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	secret := envCurrent + "=" + secretA
	s := serveBinary(t, append(env, secret))
	s.issue(t)

	_, said, err := backupOf(t, append(env, secret), filepath.Join(dir, "given.tar"))
	if err != nil || !strings.Contains(said, "not in it: hmac_secret: keep it: it comes from {env."+envCurrent+"}") {
		t.Errorf("%v: %s", err, said)
	}
	archive, err := os.ReadFile(filepath.Join(dir, "given.tar"))
	if err != nil || bytes.Contains(archive, []byte(secretA)) {
		t.Errorf("the secret of the environment is in the archive: %v", err)
	}
	for name, vars := range map[string][]string{"no secret": nil, "another secret": {envCurrent + "=" + secretB}} {
		file := filepath.Join(dir, "refused.tar")
		_, said, err := backupOf(t, append(env, vars...), file)
		if err == nil || !strings.Contains(said, "--without-secrets") || strings.Contains(said, secretB) {
			t.Errorf("%s: %v: %s", name, err, said)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s: there is a backup", name)
		}
	}
	if _, said, err := backupOf(t, env, "--without-secrets", filepath.Join(dir, "without.tar")); err != nil ||
		!strings.Contains(said, "left out") {
		t.Errorf("%v: %s", err, said)
	}
}

func TestBackupFindsTheDatabaseOfAConfiguration(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	config := filepath.Join(dir, "Caddyfile")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := serveBinary(t, append(env, envDSN+"=sqlite://"+filepath.Join(dir, "keys.db"), envCurrent+"="+secretA))
	s.issue(t)
	write("{\n\tadmin off\n\tlog {\n\t\toutput file DIR/made.log\n\t}\n\ttalos {\n\t\tstorage sqlite://DIR/keys.db\n" +
		"\t\thmac_secret " + secretA + "\n\t}\n}\n:8080 {\n\ttalos_gate\n}\n")
	archive, said, err := backupOf(t, env, "--config", config, "-")
	if err != nil || !strings.Contains(said, "it comes from the configuration itself") {
		t.Fatalf("%v: %s", err, said)
	}
	if strings.Contains(said, secretA) || bytes.Contains(archive, []byte(secretA)) {
		t.Error("the secret of the configuration is shown, or is in the archive")
	}
	m := manifestOf(t, unpacked(t, archive))
	if m.Database.Keys != 1 || !strings.HasSuffix(m.Database.Source, "keys.db") {
		t.Errorf("%+v", m)
	}
	if _, err := os.Stat(filepath.Join(dir, "made.log")); err == nil {
		t.Error("it opened the log of the configuration")
	}
	_, said, err = backupOf(t, env, "--config", config, "--database", "sqlite://"+dir+"/none.db", "-")
	if err == nil || !strings.Contains(said, "none.db") {
		t.Errorf("--database: %v: %s", err, said)
	}
	write("{\n\ttalos {\n\t\tupstream http://127.0.0.1:1\n\t}\n}\n")
	if _, said, err := backupOf(t, env, "--config", config, "-"); err == nil || !strings.Contains(said, "sidecar") {
		t.Errorf("a sidecar: %v: %s", err, said)
	}
}

func unpacked(t *testing.T, archive []byte) string {
	t.Helper()
	dir := t.TempDir()
	unpack(t, archive, dir)
	return dir
}

// A process that is killed leaves a whole archive or none.
func TestBackupThatIsKilledLeavesNoHalfFile(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	s := serveBinary(t, env)
	s.issue(t)
	file := filepath.Join(dir, "backup.tar")
	for range 5 {
		cmd := exec.Command(binary(t), "backup", "--force", file)
		cmd.Env = env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = cmd.Wait()
		}()
		killWhenBegun(t, dir, cmd.Process, done)
		archive, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if names := unpack(t, archive, t.TempDir()); len(names) != 6 {
			t.Errorf("the archive has %v only", names)
		}
	}
}

// killWhenBegun kills a backup once its folder is there, and waits for its end.
func killWhenBegun(t *testing.T, dir string, p *os.Process, done <-chan struct{}) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if begun, _ := filepath.Glob(filepath.Join(dir, ".backup.tar.partial-*")); len(begun) > 0 {
				if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Error(err)
				}
				for _, folder := range begun {
					defer func() { _ = os.RemoveAll(folder) }()
				}
				<-done
				return
			}
		}
	}
}
