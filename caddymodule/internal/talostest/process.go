package talostest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Log has what processes have written. It is safe for concurrent use.
type Log struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write appends.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is what has been written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Process is a running program.
type Process struct {
	Log *Log

	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
	err    error         // how it ended
}

// Start runs a command until the test ends. Its output goes to the log.
func Start(tb testing.TB, cmd *exec.Cmd, log *Log) *Process {
	tb.Helper()
	p := &Process{Log: log, cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = log, log, 10*time.Second
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		p.err = cmd.Wait()
	}()
	tb.Cleanup(p.Stop)
	return p
}

// Stop ends the process, by force if it does not end by itself within 15 s. It may be called more than once.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.exited:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// Await calls try until it returns nil, and fails the test after a minute or when the process has ended.
func (p *Process) Await(tb testing.TB, what string, try func() error) {
	tb.Helper()
	deadline := time.After(time.Minute)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-p.exited:
			tb.Fatalf("%s: the process has ended: %v\n%s", what, p.err, p.Log)
		case <-deadline:
			tb.Fatalf("%s: %v\n%s", what, err, p.Log)
		}
	}
}

// AwaitOK waits until a URL answers with 200.
func (p *Process) AwaitOK(tb testing.TB, url string) {
	tb.Helper()
	p.Await(tb, url, func() error {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("it answers %s", resp.Status)
		}
		return nil
	})
}
