package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Bounds of free space and of the write-ahead log, in bytes.
const (
	fullDisk   = 16 << 20
	scarceDisk = 256 << 20
	largeLog   = 256 << 20
)

// checkDisk reports whether the database has room.
func checkDisk(_ context.Context, s *subject) (found []Finding, skipped string) {
	switch {
	case s.Node.Storage == "":
		return nil, isSidecar
	case s.state == nil:
		return nil, noDatabase
	case len(s.state.Files) == 0:
		return nil, "the database is on a server of its own"
	}
	file := s.state.Files[0]
	size := sizeOf(file)
	if free, ok := freeSpace(filepath.Dir(file)); ok {
		found = append(found, judgeSpace(file, free, size)...)
	}
	for _, name := range s.state.Files[1:] {
		if log := sizeOf(name); strings.HasSuffix(name, "-wal") && log > max(largeLog, size) {
			found = append(found, Finding{
				Severity: Warning,
				What:     fmt.Sprintf("%s has %s", name, bytes(log)),
				Why:      "the log is not merged into the database, so it grows, and look-ups become slower",
				Fix:      "end the process that reads the database all the time (a sqlite3 shell, a backup that hangs)",
			})
		}
	}
	return found, ""
}

// judgeSpace judges the free space of a database's file system.
func judgeSpace(file string, free, size uint64) []Finding {
	severity := Error
	switch {
	case free < fullDisk:
	case free < max(scarceDisk, size/2):
		severity = Warning
	default:
		return nil
	}
	return []Finding{{
		Severity: severity,
		What:     fmt.Sprintf("%s are free where the database is (%s, %s)", bytes(free), file, bytes(size)),
		Why:      "on a full disk no key can be made or revoked",
		Fix:      "free some space, or move the database to a larger file system",
	}}
}

// sizeOf is the size of a file in bytes; 0 if there is none.
func sizeOf(path string) uint64 {
	info, err := os.Stat(path)
	if err != nil || info.Size() < 0 {
		return 0
	}
	return uint64(info.Size()) //nolint:gosec // not negative, see above
}

// bytes is a size for people.
func bytes(n uint64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	default:
		return fmt.Sprintf("%d KiB", n>>10)
	}
}
