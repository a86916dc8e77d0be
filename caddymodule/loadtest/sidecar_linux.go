package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// pauseUntil returns at t, to within a tenth of a millisecond when the machine is idle: a timer of the runtime would be
// late by up to one.
func pauseUntil(t time.Time) {
	for d := time.Until(t); d > 0; d = time.Until(t) {
		wait := syscall.NsecToTimespec(int64(d))
		_ = syscall.Nanosleep(&wait, nil) // interrupted, it goes on
	}
}

// memory is the resident memory of a process in bytes, now and at most so far.
func memory(pid int) (now, most float64, ok bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, false
	}
	now, ok = statusField(status, "VmRSS:")
	most, ok2 := statusField(status, "VmHWM:")
	return now, most, ok && ok2
}

// statusField reads a size out of proc_pid_status(5), in bytes.
func statusField(status []byte, name string) (float64, bool) {
	for line := range bytes.Lines(status) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == name {
			kib, err := strconv.ParseUint(string(fields[1]), 10, 64)
			return float64(kib) * 1024, err == nil
		}
	}
	return 0, false
}

// openFiles is how many files a process may have open at once.
func openFiles() (most uint64, ok bool) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return limit.Max, true // Go programs raise the other limit to this one by themselves
}
