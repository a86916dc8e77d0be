package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/caddyserver/certmagic"

	"github.com/talos-edge/talos-edge/caddymodule/internal/secrets"
)

// Permissions of a file that others have.
const (
	othersRead  = 0o044
	othersWrite = 0o022
)

// checkFiles looks at the modes and owners of what the node keeps.
func checkFiles(_ context.Context, s *subject) (found []Finding, skipped string) {
	if runtime.GOOS == "windows" {
		return nil, "this system has no file modes"
	}
	var files []string
	if s.state != nil && len(s.state.Files) > 0 {
		files = s.state.Files
		found = append(found, judgeFolder(filepath.Dir(files[0]))...)
	}
	for _, file := range files {
		found = append(found, judgeFile(file, "names, actors and metadata of all keys are in it", Warning)...)
	}
	if storage, ok := s.Storage.(*certmagic.FileStorage); ok {
		for _, name := range []string{secrets.HMACName, secrets.SigningKeysName} {
			file := storage.Filename(name)
			found = append(found, judgeFolder(filepath.Dir(file))...)
			found = append(found, judgeFile(file, "whoever reads it can make keys that this node takes", Error)...)
		}
	}
	if s.Node.SigningKeys && s.App.SigningKeys != "" {
		if _, err := os.Stat(s.App.SigningKeys); err == nil {
			found = append(found,
				judgeFile(s.App.SigningKeys, "whoever reads it can make tokens that this node takes", Error)...)
		}
	}
	if len(files) > 0 {
		found = append(found, judgeOwners(files)...)
	}
	return unique(found), ""
}

// judgeFile reports whether others than the owner can read or write a file. One that is missing is no finding.
func judgeFile(path, why string, severity Severity) []Finding {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	fix := "chmod 600 " + path
	switch mode := info.Mode().Perm(); {
	case mode&othersWrite != 0:
		return []Finding{{
			Severity: Error, What: fmt.Sprintf("%s can be written by others than its owner (mode %04o)", path, mode),
			Why: "they can add keys, or bring revoked ones back", Fix: fix,
		}}
	case mode&othersRead != 0:
		return []Finding{{
			Severity: severity, What: fmt.Sprintf("%s can be read by others than its owner (mode %04o)", path, mode),
			Why: why, Fix: fix,
		}}
	}
	return nil
}

// judgeFolder reports whether others can replace the files in a folder.
func judgeFolder(path string) []Finding {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&othersWrite == 0 || info.Mode()&fs.ModeSticky != 0 {
		return nil
	}
	return []Finding{{
		Severity: Error,
		What: fmt.Sprintf("the folder %s can be written by others than its owner (mode %04o)",
			path, info.Mode().Perm()),
		Why: "they can replace the files in it with their own",
		Fix: "chmod 700 " + path,
	}}
}

// judgeOwners reports whether the files of a database belong to different users, or to another one than their folder.
func judgeOwners(files []string) []Finding {
	first, ok := ownerOf(files[0])
	if !ok {
		return nil
	}
	for _, file := range append([]string{filepath.Dir(files[0])}, files[1:]...) {
		other, ok := ownerOf(file)
		if !ok || other == first {
			continue
		}
		return []Finding{{
			Severity: Warning,
			What:     fmt.Sprintf("%s belongs to user %d, and %s to user %d", files[0], first, file, other),
			Why: "a node that runs as one of them may not be able to open the files of the other; a command that was " +
				"run as root leaves such files",
			Fix: fmt.Sprintf("chown -R %d %s, if that is the user that runs the node", other, filepath.Dir(files[0])),
		}}
	}
	return nil
}

// unique drops findings that repeat an earlier one.
func unique(found []Finding) []Finding {
	seen := map[Finding]bool{}
	kept := found[:0]
	for i := range found {
		if !seen[found[i]] {
			seen[found[i]] = true
			kept = append(kept, found[i])
		}
	}
	return kept
}
