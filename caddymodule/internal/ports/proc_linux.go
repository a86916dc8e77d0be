package ports

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// listening is the state of a TCP listener in /proc/net/tcp.
const listening = "0A"

// readSockets reads the TCP listeners of this process' network namespace. It is false when they cannot be read.
func readSockets() (all sockets, ok bool) {
	// The descriptors are read before and after: a listener that is opened or closed meanwhile is this process' own.
	before, err := descriptors("self")
	if err != nil {
		return nil, false
	}
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		file, err := os.Open(name) //nolint:gosec // one of two
		if os.IsNotExist(err) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, false
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			if s, ok := parseSocket(lines.Text()); ok {
				all = append(all, s)
			}
		}
		err = lines.Err()
		_ = file.Close() // it was only read
		if err != nil {
			return nil, false
		}
	}
	after, err := descriptors("self")
	if err != nil {
		return nil, false
	}
	for i := range all {
		all[i].own = before[all[i].inode] || after[all[i].inode]
	}
	return all, true
}

// parseSocket reads a line of /proc/net/tcp (proc_pid_net(5)). It is false for what is no listener.
func parseSocket(line string) (s socket, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != listening {
		return socket{}, false
	}
	host, port, _ := strings.Cut(fields[1], ":")
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return socket{}, false
	}
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return socket{}, false
	}
	for i := 0; i < len(raw); i += 4 { // words in the order of the machine
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	return socket{addr: netip.AddrPortFrom(addr.Unmap(), uint16(number)), inode: fields[9]}, ok
}

// descriptors returns the inodes of the sockets that a process has.
func descriptors(process string) (map[string]bool, error) {
	folder := "/proc/" + process + "/fd"
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	inodes := make(map[string]bool)
	for _, entry := range entries {
		link, err := os.Readlink(filepath.Join(folder, entry.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return inodes, nil
}

// owners are the processes that have one of some sockets, by their inodes, as far as this process may know them.
func owners(inodes map[string]bool) (found []Process) {
	if len(inodes) == 0 {
		return nil
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	for _, folder := range processes {
		id, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			continue
		}
		own, err := descriptors(strconv.Itoa(id))
		if err != nil {
			continue // it has ended, or is another user's
		}
		for inode := range inodes {
			if own[inode] {
				exe, _ := os.Readlink(filepath.Join(folder, "exe")) // empty: not known
				found = append(found, Process{id, exe})
				break
			}
		}
	}
	return found
}
