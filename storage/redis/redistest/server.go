package redistest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
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
	cmd    *exec.Cmd
	output bytes.Buffer
}

// Start runs a server with further arguments until the test ends.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	binary := os.Getenv("TALOS_TEST_REDIS")
	if binary == "" {
		tb.Skip("TALOS_TEST_REDIS is not set")
	}
	s := &Server{port: FreePort(tb), binary: binary, folder: tb.TempDir(), args: args}
	s.Client = redis.NewClient(&redis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true})
	tb.Cleanup(func() {
		s.Kill(tb)
		_ = s.Client.Close()
		if tb.Failed() {
			tb.Logf("redis-server %s:\n%s", strings.Join(args, " "), s.output.String())
		}
	})
	s.Restart(tb)
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
	if err := s.cmd.Process.Kill(); err != nil {
		tb.Errorf("killing redis-server: %v", err)
	}
	_ = s.cmd.Wait() // killed
	s.cmd = nil
}

// Restart kills the server if it runs, starts it on the same port and waits until it answers.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Kill(tb)
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
		tb.Fatal(err)
	}
	Await(tb, "redis-server answers", func() bool {
		err := s.Client.Ping(tb.Context()).Err()
		return err == nil || strings.HasPrefix(err.Error(), "NOAUTH")
	})
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

// FreePort finds a port of the loopback on which nobody listens.
func FreePort(tb testing.TB) string {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	return port
}

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
