package backup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"filippo.io/age"
)

const (
	// MinPassphrase is how many characters a passphrase has at least that an archive is encrypted with.
	MinPassphrase = 12
	// maxPassphrase is how many bytes one has at most.
	maxPassphrase = 1024

	// workFactor is the cost of a guess, as a power of two: about a second, and 256 MiB of memory. It is that of the
	// tool age.
	workFactor = 18
)

// ReadPassphrase reads a passphrase: the first line of a text.
func ReadPassphrase(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxPassphrase+1)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the passphrase: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	switch {
	case line == "":
		return "", errors.New("the passphrase is empty: its file must have it in the first line")
	case len(line) > maxPassphrase:
		return "", fmt.Errorf("the passphrase has more than %d bytes", maxPassphrase)
	}
	return line, nil
}

// checkPassphrase refuses a passphrase that is soon guessed. Without one, nothing is encrypted.
func checkPassphrase(passphrase string) error {
	if n := utf8.RuneCountInString(passphrase); n > 0 && n < MinPassphrase {
		return fmt.Errorf("the passphrase has %d characters: it must have at least %d", n, MinPassphrase)
	}
	return nil
}

// encrypted encrypts what is written with a passphrase, in the format of age (https://age-encryption.org/v1), a part of
// 64 KiB after the other. Without a passphrase it passes it on. The caller closes it, and w afterwards.
func encrypted(w io.Writer, passphrase string) (io.WriteCloser, error) {
	if passphrase == "" {
		return plain{w}, nil
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(workFactor)
	return age.Encrypt(w, recipient)
}

type plain struct{ io.Writer }

// Close does nothing.
func (plain) Close() error { return nil }

// Decrypt writes the archive that an encrypted file holds. It reads the file twice, and writes nothing before it has
// found all of it to be intact. Another passphrase, and a file that was changed or cut short, are errors.
func Decrypt(ctx context.Context, file, passphrase string, w io.Writer) (err error) {
	f, err := os.Open(file) //nolint:gosec // the operator's own file
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := decryptTo(ctx, f, passphrase, io.Discard); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return decryptTo(ctx, f, passphrase, w)
}

func decryptTo(ctx context.Context, r io.Reader, passphrase string, w io.Writer) error {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return err
	}
	identity.SetMaxWorkFactor(workFactor) // a file must not take all memory
	const magic = "age-encryption.org/"
	start := bufio.NewReader(r)
	if begin, err := start.Peek(len(magic)); err != nil || !bytes.Equal(begin, []byte(magic)) {
		return errors.New("this is not an encrypted archive: unpack it as it is")
	}
	content, err := age.Decrypt(start, identity)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return errors.New("this is not the passphrase that the archive was encrypted with")
	}
	if err != nil {
		return fmt.Errorf("the archive cannot be decrypted: %w", err)
	}
	if _, err := io.Copy(w, untilDone(ctx, content)); err != nil {
		return fmt.Errorf("the archive is damaged, or was cut short: %w", err)
	}
	return nil
}
