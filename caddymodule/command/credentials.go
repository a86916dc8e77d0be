package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core/credential"
)

// readCredential returns the credential that an argument names: itself, or with "-" the one line of standard
// input. Errors do not repeat it.
func readCredential(arg string, stdin io.Reader) (string, error) {
	creds, err := readCredentials([]string{arg}, stdin)
	switch {
	case err != nil:
		return "", err
	case len(creds) != 1:
		return "", fmt.Errorf("standard input holds %d lines; it must hold one credential", len(creds))
	}
	return creds[0], nil
}

// readCredentials returns the credentials that arguments name, in their order. A "-", which may be given once, is
// the lines of standard input; empty lines do not count. Errors do not repeat a credential.
func readCredentials(args []string, stdin io.Reader) ([]string, error) {
	var creds []string
	read := false
	for _, arg := range args {
		if arg != "-" {
			creds = append(creds, arg)
			continue
		}
		if read {
			return nil, errors.New("- may be given once: standard input is read to its end")
		}
		read = true
		lines, err := readLines(stdin)
		if err != nil {
			return nil, err
		}
		creds = append(creds, lines...)
	}
	switch {
	case len(creds) == 0:
		return nil, errors.New("standard input holds no credential")
	case len(creds) > client.MaxBatch:
		return nil, fmt.Errorf("one call takes at most %d credentials", client.MaxBatch)
	}
	return creds, nil
}

// readLines reads lines until there are more than one call takes.
func readLines(r io.Reader) ([]string, error) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, credential.MaxLength+2) // and the end of the line
	var lines []string
	for len(lines) <= client.MaxBatch && s.Scan() {
		if line := strings.TrimSuffix(s.Text(), "\r"); line != "" {
			lines = append(lines, line)
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return nil, credential.ErrTooLong
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("reading standard input: %w", err)
	}
	return lines, nil
}

// keyID matches what can be a key id: the UUID of an issued key, the hash of an imported one.
var keyID = regexp.MustCompile(`^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64})$`)

// checkKeyID refuses what cannot be a key id. A key id becomes part of a path, and paths are in access logs: a
// credential that was given in its place must not be sent.
func checkKeyID(s string) error {
	if !keyID.MatchString(s) {
		return errors.New("no key id: it must be the UUID of an issued key or the 64 hex digits of an imported one")
	}
	return nil
}
