//go:build !linux

package pgtest

import "syscall"

// Only Linux lets a program end with the process that has started it. Elsewhere tests do not run as root.
func processAttributes(syscall.Signal) (*syscall.SysProcAttr, error) { return nil, nil }

func giveAway(string) error { return nil }

func removeSharedMemory(string) error { return nil }
