//go:build unix

package backup

import (
	"io/fs"
	"syscall"
)

func ownerOfFile(info fs.FileInfo) owner {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return owner{uid: int(s.Uid), gid: int(s.Gid)}
	}
	return owner{}
}
