package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// listeners are the processes that listen on a TCP port, as far as this user can see them.
func listeners(port uint) (found []process) {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table) //nolint:gosec // one of two names
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			// sl, local address, remote address, state, queues, timer, retransmits, uid, timeout, inode
			const state, inode, listening = 3, 9, "0A"
			f := strings.Fields(line)
			if len(f) > inode && f[state] == listening && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+f[inode]+"]"] = true
			}
		}
	}
	if len(inodes) == 0 {
		return nil
	}
	descriptors, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return nil
	}
	for _, descriptor := range descriptors {
		if target, err := os.Readlink(descriptor); err != nil || !inodes[target] {
			continue
		}
		folder := filepath.Dir(filepath.Dir(descriptor))
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil || slices.ContainsFunc(found, func(p process) bool { return p.pid == pid }) {
			continue
		}
		exe, _ := os.Readlink(filepath.Join(folder, "exe")) // empty: not known
		found = append(found, process{pid, exe})
	}
	return found
}
