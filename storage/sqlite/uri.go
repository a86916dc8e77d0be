package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Canonical returns the absolute path of a database file, free of symbolic links as far as the path exists. It reads
// directories and creates nothing.
func Canonical(path string) (string, error) {
	if path == "" || strings.HasPrefix(path, ":memory:") {
		return "", errors.New("a sqlite database needs a path: keys in memory would not outlive the process")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("path of the database: %w", err)
	}
	rest := ""
	for existing := path; ; existing = filepath.Dir(existing) {
		clean, err := filepath.EvalSymlinks(existing)
		switch {
		case err == nil:
			return filepath.Join(clean, rest), nil
		case !errors.Is(err, fs.ErrNotExist) || existing == filepath.Dir(existing):
			return "", fmt.Errorf("path of the database: %w", err)
		}
		rest = filepath.Join(filepath.Base(existing), rest)
	}
}

// uri is the driver's name for a database file that exists. A file that has gone is an error and not a new, empty one.
func uri(path string, busy time.Duration, pragmas ...string) string {
	pragmas = append([]string{
		fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()),
		"synchronous(FULL)",
		"foreign_keys(1)",
	}, pragmas...)
	return fileURI(path, url.Values{"mode": {"rw"}, "_pragma": pragmas})
}

// readOnlyURI is the driver's name for a database file that is only read, with a further option of SQLite.
func readOnlyURI(path, option string) string {
	return fileURI(path, url.Values{
		"mode": {"ro"}, option: {"1"}, "_pragma": {fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())},
	})
}

func fileURI(path string, query url.Values) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/…
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}

// createFile makes the file, for its owner alone, and the directories above it when they are missing. One that exists
// is left as it is, and above all is not opened: POSIX drops the locks that a process holds on a file when the process
// closes any descriptor of it, and another store in this process may hold some.
func createFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("create the directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator's own path
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return fmt.Errorf("create the file: %w", err)
	}
	return f.Close()
}
