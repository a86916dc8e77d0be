//go:build !linux

package main

import (
	"errors"
	"syscall"
	"time"
)

// dieWithParent has no counterpart here: the roles of this program end with their input, a proxy with the run.
func dieWithParent() *syscall.SysProcAttr { return nil }

// cpuTime of another process is not read here.
func cpuTime(int) (time.Duration, bool) { return 0, false }

// hang is not done here.
func (*process) hang(bool) error { return errors.ErrUnsupported }
