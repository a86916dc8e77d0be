package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Linux reports CPU time in units of 1/100 s on every architecture that Go knows.
const clockTick = time.Second / 100

// dieWithParent kills the child when the thread that started it ends, which no panic and no kill -9 of ours can
// prevent; hence that thread has to be one that exists as long as the run. A process group of its own keeps Ctrl-C from
// the child: we end it in order.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// cpuTime is the user and system time that a process has used since its start, to 10 ms.
func cpuTime(pid int) (time.Duration, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The second field, the name in parentheses, may hold spaces and parentheses. See proc_pid_stat(5).
	_, rest, ok := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(" "))
	fields := bytes.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, false
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * clockTick, err1 == nil && err2 == nil
}

// hang stops a process without ending it, or lets it go on.
func (p *process) hang(stop bool) error {
	signal := syscall.SIGCONT
	if stop {
		signal = syscall.SIGSTOP
	}
	return syscall.Kill(p.pid, signal)
}
