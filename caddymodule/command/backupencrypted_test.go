package command

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/talos-edge/talos-edge/storage/pgtest"
)

const testPassphrase = "correct horse battery"

// passphraseFile writes a passphrase into a folder, as the manual names it.
func passphraseFile(t *testing.T, dir, passphrase string) string {
	t.Helper()
	file := filepath.Join(dir, "passphrase")
	if err := os.WriteFile(file, []byte(passphrase+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAnEncryptedBackupIsRestoredWithItsPassphraseOnly(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	s := serveBinary(t, env)
	good, _ := s.issue(t)
	revoked, revokedID := s.issue(t)
	if _, exit := s.talos(t, "keys", "revoke", revokedID); exit != 0 {
		t.Fatal("revoke failed")
	}
	passphraseFile(t, dir, testPassphrase)
	said := runManual(t, dir, env, "talos backup --passphrase-file ")
	if strings.Contains(said, testPassphrase) {
		t.Error("the passphrase is shown")
	}
	file := filepath.Join(dir, "talos.tar.age")
	archive, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for _, text := range []string{"talos.db", "SQLite format", "hmac_secret"} {
		if bytes.Contains(archive, []byte(text)) {
			t.Errorf("the archive has %q in clear text", text)
		}
	}
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}

	wrong := passphraseFile(t, t.TempDir(), testPassphrase+"!")
	out, said, err := backupOf(t, env, "--decrypt", "--passphrase-file", wrong, file)
	if err == nil || len(out) > 0 || !strings.Contains(said, "not the passphrase") {
		t.Errorf("another passphrase: %v, %d bytes: %s", err, len(out), said)
	}

	fresh, freshEnv := home(t)
	passphraseFile(t, fresh, testPassphrase)
	if err := os.WriteFile(filepath.Join(fresh, "talos.tar.age"), archive, 0o600); err != nil {
		t.Fatal(err)
	}
	runManual(t, fresh, freshEnv, "talos backup --decrypt ")
	restored := serveBinary(t, freshEnv)
	restored.wantVerdict(t, good, true)
	restored.wantVerdict(t, revoked, false)
}

func TestAPassphraseComesFromStandardInputToo(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	s := serveBinary(t, env)
	s.issue(t)
	file := filepath.Join(dir, "talos.tar.age")
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary(t), append([]string{"backup"}, args...)...)
		cmd.Env, cmd.Stdin, cmd.Stderr = env, strings.NewReader(testPassphrase+"\n"), os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	run("--passphrase-file", "-", file)
	plain := run("--decrypt", file)
	if m := manifestOf(t, unpacked(t, plain)); m.Database.Keys != 1 {
		t.Errorf("%+v", m)
	}
}

func TestABackupIsNotEncryptedWithAPassphraseThatIsSoonGuessed(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	serveBinary(t, env)
	file := filepath.Join(dir, "talos.tar.age")
	for name, args := range map[string][]string{
		"short":   {"--passphrase-file", passphraseFile(t, t.TempDir(), "hunter2"), file},
		"empty":   {"--passphrase-file", passphraseFile(t, t.TempDir(), ""), file},
		"missing": {"--passphrase-file", filepath.Join(dir, "none"), file},
		"decrypt": {"--decrypt", "--force", "--passphrase-file", passphraseFile(t, t.TempDir(), "x"), file},
	} {
		out, said, err := backupOf(t, env, args...)
		if err == nil || len(out) > 0 || strings.Contains(said, "hunter2") {
			t.Errorf("%s: %v: %s", name, err, said)
		}
		if _, err := os.Stat(file); err == nil {
			t.Fatalf("%s: there is a backup", name)
		}
	}
}

// The archive has a SQLite file: one node goes on with it, or it is copied into another PostgreSQL database.
func TestABackupOfPostgreSQLIsRestoredOnEitherEngine(t *testing.T) {
	t.Parallel()
	dsn := strings.Replace(pgtest.Database(t), "postgres@", "postgres:hunter2@", 1)
	m := newMoved(t, dsn, pgtest.Database(t))
	s := m.serve(t, dsn)
	good, _ := s.issue(t)
	revoked, revokedID := s.issue(t)
	if _, exit := s.talos(t, "keys", "revoke", revokedID); exit != 0 {
		t.Fatal("revoke failed")
	}
	archive, said, err := backupOf(t, append(slices.Clone(m.env), envDSN+"="+dsn), "-")
	if err != nil {
		t.Fatal(err, said)
	}
	if !strings.Contains(said, "2 keys, up to change 3") {
		t.Errorf("it says %s", said)
	}
	dir := unpacked(t, archive)
	if strings.Contains(said, "hunter2") || strings.Contains(manifestOf(t, dir).Database.Source, "hunter2") {
		t.Error("the password of the database is shown")
	}
	note, err := os.ReadFile(filepath.Join(dir, "talos-backup", "README.txt"))
	if err != nil || !strings.Contains(string(note), "talos copy --from sqlite://talos.db --to DSN") {
		t.Errorf("the note does not say how it is restored: %v\n%s", err, note)
	}
	m.from = "sqlite://" + filepath.Join(dir, "talos.db")
	if _, stderr, exit := m.copy(t); exit != 0 {
		t.Fatal(stderr)
	}
	for _, dsn := range []string{m.from, m.to} {
		restored := m.serve(t, dsn)
		restored.wantVerdict(t, good, true)
		restored.wantVerdict(t, revoked, false)
	}
}
