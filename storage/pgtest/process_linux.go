package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// processAttributes make a program run as the user postgres if this process runs as root, and end with this process.
func processAttributes(death syscall.Signal) (*syscall.SysProcAttr, error) {
	a := &syscall.SysProcAttr{Pdeathsig: death}
	if os.Geteuid() != 0 {
		return a, nil
	}
	uid, gid, err := postgresUser()
	if err != nil {
		return nil, err
	}
	a.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	return a, nil
}

// giveAway makes a file or folder the user's whom programs run as.
func giveAway(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := postgresUser()
	if err != nil {
		return err
	}
	return os.Chown(path, int(uid), int(gid))
}

func postgresUser() (uid, gid uint32, err error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, fmt.Errorf("PostgreSQL does not run as root: make the user postgres: %w", err)
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return 0, 0, err
	}
	group, err := strconv.ParseUint(u.Gid, 10, 32)
	return uint32(id), uint32(group), err
}

// removeSharedMemory removes what a server that was killed has left in the kernel: a small segment of shared memory, by
// which the next server finds out whether the last one's children are still there.
func removeSharedMemory(data string) error {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid")) //nolint:gosec // a folder of this package
	if err != nil {
		return err
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) < 7 {
		return errors.New("postmaster.pid has no line 7 with the segment of shared memory")
	}
	fields := strings.Fields(lines[6])
	if len(fields) != 2 {
		return fmt.Errorf("line 7 of postmaster.pid is %q, not the key and the id of a segment", lines[6])
	}
	id, err := strconv.Atoi(fields[1])
	if err != nil {
		return err
	}
	_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	return err
}
