package backup_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"go.uber.org/goleak"

	"github.com/talos-edge/talos-edge/caddymodule/backup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const passphrase = "correct horse battery"

// sealed writes a file that is encrypted as the tool age does it.
func sealed(t *testing.T, content []byte) string {
	t.Helper()
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(10) // cheaper than ours
	var b bytes.Buffer
	w, err := age.Encrypt(&b, recipient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "talos.tar.age")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDecrypt_GivesBackWhatWasEncrypted(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte("0123456789abcdef"), 20_000) // several parts
	var got bytes.Buffer
	if err := backup.Decrypt(t.Context(), sealed(t, want), passphrase, &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes, want %d", got.Len(), len(want))
	}
}

func TestDecrypt_WritesNothingOfAFileThatIsNotWhole(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	whole, err := os.ReadFile(sealed(t, content))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		file       []byte
		passphrase string
		want       string
	}{
		"another passphrase":   {whole, passphrase + "s", "not the passphrase"},
		"no passphrase":        {whole, "", "passphrase"},
		"the end is missing":   {whole[:len(whole)-1], passphrase, "damaged"},
		"a part is missing":    {whole[:len(whole)-70_000], passphrase, "damaged"},
		"a bit is wrong":       {flipped, passphrase, "damaged"},
		"something is added":   {append(bytes.Clone(whole), 0), passphrase, "damaged"},
		"it is not encrypted":  {[]byte("talos-backup/ and so on"), passphrase, "not an encrypted archive"},
		"it is empty":          {nil, passphrase, "not an encrypted archive"},
		"its header is broken": {[]byte("age-encryption.org/v1\nnonsense"), passphrase, "cannot be decrypted"},
	} {
		file := filepath.Join(t.TempDir(), "broken.age")
		if err := os.WriteFile(file, c.file, 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := backup.Decrypt(t.Context(), file, c.passphrase, &out)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: %v", name, err)
		}
		if out.Len() > 0 {
			t.Errorf("%s: %d bytes were written", name, out.Len())
		}
	}
}

// Whoever gives a file to be decrypted must not say how much memory that takes.
func TestDecrypt_RefusesAFileThatTakesMoreMemoryThanOurs(t *testing.T) {
	t.Parallel()
	file := sealed(t, nil)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitN(string(content), "\n", 3)
	lines[1] = strings.TrimSuffix(lines[1], " 10") + " 19"
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := backup.Decrypt(t.Context(), file, passphrase, io.Discard); err == nil ||
		!strings.Contains(err.Error(), "work factor") {
		t.Errorf("%v", err)
	}
}

func TestDecrypt_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := backup.Decrypt(ctx, sealed(t, []byte("content")), passphrase, io.Discard); err == nil {
		t.Error("no error")
	}
}

func TestReadPassphrase_TakesTheFirstLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"one": "one", "one\n": "one", "one\r\n": "one", " one two \nthree\n": " one two ",
	} {
		if got, err := backup.ReadPassphrase(strings.NewReader(text)); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "\n", "\r\nsecond", strings.Repeat("x", 1025)} {
		if got, err := backup.ReadPassphrase(strings.NewReader(text)); err == nil {
			t.Errorf("%.10q: %.10q", text, got)
		}
	}
}
