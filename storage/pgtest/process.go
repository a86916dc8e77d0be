package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/talos-edge/talos-edge/storage/internal/testport"
)

// process is a running program with all processes that it has started.
type process struct {
	cmd    *exec.Cmd
	log    *tail
	exited chan struct{} // closed when all of them have ended
	err    error         // how the program ended
}

// start runs a program in a folder, as the user that may run it. death is the signal that it gets on Linux when this
// process dies. The program does not end with ctx.
func start(ctx context.Context, folder string, death syscall.Signal, name string, args ...string) (*process, error) {
	attributes, err := processAttributes(death)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), name, args...) //nolint:gosec // of the environment
	cmd.Dir, cmd.SysProcAttr = folder, attributes
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	p := &process{cmd: cmd, log: &tail{}, exited: make(chan struct{})}
	// The children inherit the pipe that this makes, and Wait returns when the last one has closed it.
	cmd.Stdout, cmd.Stderr = p.log, p.log
	started := make(chan error)
	go func() {
		// The signal is sent when the thread ends that has started the program.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// run runs a program to its end.
func run(ctx context.Context, folder, name string, args ...string) error {
	p, err := start(ctx, folder, syscall.SIGKILL, name, args...)
	if err != nil {
		return err
	}
	if err := p.await(ctx); err != nil {
		return err
	}
	if p.err != nil {
		return p.failure(p.err)
	}
	return nil
}

// ready calls try until it returns nil, the process has ended, or ctx is done.
func (p *process) ready(ctx context.Context, try func(context.Context) error) error {
	err := poll(ctx, func(ctx context.Context) error {
		select {
		case <-p.exited:
			return errEnded
		default:
			return try(ctx)
		}
	})
	switch {
	case err == nil:
		return nil
	case strings.Contains(p.log.String(), "Address already in use"):
		return testport.ErrTaken
	default:
		return p.failure(err)
	}
}

// signal sends a signal and waits until all processes have ended. It kills the program if that takes too long.
func (p *process) signal(ctx context.Context, sig syscall.Signal) error {
	_ = p.cmd.Process.Signal(sig) // it may have ended
	return p.await(ctx)
}

// await waits until all processes have ended. It kills the program if that takes too long.
func (p *process) await(ctx context.Context) error {
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
		return p.failure(ctx.Err())
	}
}

// failure is an error with what the process has written last.
func (p *process) failure(err error) error {
	return fmt.Errorf("%s: %w\n%s", p.cmd.Path, err, p.log)
}

// errEnded ends a poll at once: what is waited for cannot happen any more.
var errEnded = errors.New("the process has ended")

// poll calls try until it returns nil or errEnded, or ctx is done.
func poll(ctx context.Context, try func(context.Context) error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// logBytes is how much of a log is kept, at least.
const logBytes = 32 << 10

// tail keeps the end of what is written to it. It is safe for concurrent use.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	if len(l.b) > 2*logBytes {
		l.b = append([]byte(nil), l.b[len(l.b)-logBytes:]...)
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}
