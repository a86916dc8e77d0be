package redistest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/talos-edge/talos-edge/storage/internal/testport"
)

// patience bounds what a test waits for.
const patience = time.Minute

// Server is a redis-server on a free port of the loopback. It stores nothing on the disk, so that a restart loses all.
type Server struct {
	// Client is for the test's own commands. It uses neither user nor password, and no TLS.
	Client *redis.Client

	port   string
	binary string
	args   []string
	folder string
	cmd    *exec.Cmd     // nil while none runs
	exited chan struct{} // closed when cmd has ended
	output bytes.Buffer
}

// Start runs a server with further arguments until the test ends.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	binary := os.Getenv("TALOS_TEST_REDIS")
	if binary == "" {
		tb.Skip("TALOS_TEST_REDIS is not set")
	}
	s := &Server{binary: binary, folder: tb.TempDir(), args: args}
	tb.Cleanup(func() {
		s.Kill(tb)
		_ = s.Client.Close()
		if tb.Failed() {
			tb.Logf("redis-server %s:\n%s", strings.Join(args, " "), s.output.String())
		}
	})
	err := testport.Try(func(port string) error {
		if s.Client != nil {
			_ = s.Client.Close()
		}
		s.port = port
		s.Client = redis.NewClient(&redis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true})
		return s.launch(tb)
	})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Addr is the server's host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// Port is the server's port.
func (s *Server) Port() string { return s.port }

// Kill ends the process by SIGKILL. A server that does not run stays as it is.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.exited
	s.cmd = nil
}

// Restart kills the server if it runs, starts it on the same port and waits until it answers.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Kill(tb)
	if err := s.launch(tb); err != nil {
		tb.Fatal(err)
	}
}

// launch starts the server and waits until it answers.
func (s *Server) launch(tb testing.TB) error {
	tb.Helper()
	args := s.args
	if len(args) == 0 || !strings.HasSuffix(args[0], ".conf") {
		args = append([]string{"--save", "", "--appendonly", "no"}, args...)
	}
	args = append(args[:len(args):len(args)], "--port", s.port, "--bind", "127.0.0.1", "--dir", s.folder)
	//nolint:gosec // the program that the environment names, for a test
	s.cmd = exec.CommandContext(context.Background(), s.binary, args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	cmd, exited := s.cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	s.exited = exited
	Await(tb, "redis-server answers or ends", func() bool {
		select {
		case <-exited:
			return true
		default:
			info, err := s.Client.Info(tb.Context(), "server").Result()
			own := fmt.Sprintf("process_id:%d\r\n", cmd.Process.Pid) // not another one on the same port
			return strings.Contains(info, own) || err != nil && strings.HasPrefix(err.Error(), "NOAUTH")
		}
	})
	select {
	case <-exited:
		s.cmd = nil
		if strings.Contains(s.output.String(), "Address already in use") {
			return testport.ErrTaken
		}
		return errors.New("redis-server has ended")
	default:
		return nil
	}
}

// Do runs a command and fails the test when Redis does not accept it.
func (s *Server) Do(tb testing.TB, command ...any) any {
	tb.Helper()
	reply, err := s.Client.Do(tb.Context(), command...).Result()
	if err != nil {
		tb.Fatalf("%v: %v", command, err)
	}
	return reply
}

// OtherPort is a port of the loopback that nobody has, in all likelihood, for what a server listens on besides its own.
func OtherPort() string { return testport.Any() }

// Await tries until a condition holds, and fails the test when it does not within a minute.
func Await(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for late := time.After(patience); !holds(); {
		select {
		case <-ticker.C:
		case <-late:
			tb.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// writeFile writes a file into the server's folder.
func writeFile(tb testing.TB, folder, name, text string) string {
	tb.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
