package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// How long a process may take to end before it is killed.
const stopPatience = 5 * time.Second

// A process is a child that ends when its context does, when stop is called and, on Linux, when this process dies.
type process struct {
	name   string
	pid    int
	stdin  io.WriteCloser
	stdout *os.File // nil when the output is kept in log
	log    *tail
	cancel context.CancelFunc
	done   chan struct{} // closed when the child has ended
}

// startProcess starts a child with exactly env. With piped, its input and output are the caller's to use; without, its
// output is kept for error messages. It must be called from a goroutine locked to its thread (see [dieWithParent]).
func startProcess(ctx context.Context, name string, piped bool, env []string, path string, args ...string) (
	*process, error,
) {
	ctx, cancel := context.WithCancel(ctx)
	p := &process{name: name, log: &tail{}, cancel: cancel, done: make(chan struct{})}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Stderr = env, p.log
	cmd.SysProcAttr = dieWithParent()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	if err := p.begin(cmd, piped); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.pid = cmd.Process.Pid
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended shows in the log
	}()
	return p, nil
}

// begin starts cmd, with pipes to it if piped.
func (p *process) begin(cmd *exec.Cmd, piped bool) (err error) {
	if !piped {
		cmd.Stdout = p.log
		return cmd.Start()
	}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	p.stdout, cmd.Stdout = ours, theirs
	err = cmd.Start()
	_ = theirs.Close() // the child has its own
	if err != nil {
		_ = ours.Close()
	}
	return err
}

// stop ends the child and waits until it is gone. It may be called more than once.
func (p *process) stop() {
	p.cancel()
	<-p.done
	if p.stdout != nil {
		_ = p.stdout.Close() // read only
	}
}

// kill ends the child without giving it time for anything, and waits until it is gone.
func (p *process) kill() error {
	child, err := os.FindProcess(p.pid)
	if err == nil {
		err = child.Kill()
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	p.stop()
	return nil
}

// failure wraps err with the end of what the child said.
func (p *process) failure(err error) error {
	if said := strings.TrimSpace(p.log.String()); said != "" {
		return fmt.Errorf("%s: %w; its last output:\n%s", p.name, err, said)
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// A tail keeps the last 8 KiB written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// childEnv is the environment of a child: what programs need to run at all, a home in dir, and the given settings.
// GOGC, GOMEMLIMIT and whatever else the caller's shell has set do not reach it.
func childEnv(dir string, settings ...string) []string {
	env := []string{
		"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "TMPDIR=" + dir,
		"APPDATA=" + dir, "TEMP=" + dir,
	}
	for _, name := range []string{"PATH", "SYSTEMROOT"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return append(env, settings...)
}
