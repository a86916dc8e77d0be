package pgtest

import (
	"strconv"
	"syscall"
	"testing"
)

// Shutdown is a way to stop a server.
type Shutdown syscall.Signal

// The ways to stop a server.
const (
	// Fast ends all connections, rolls their transactions back, and writes a checkpoint.
	Fast = Shutdown(syscall.SIGINT)
	// Immediate ends all processes at once. The next start recovers as after a crash.
	Immediate = Shutdown(syscall.SIGQUIT)
)

// Stop stops the server. The port stays its own until [Server.Restart].
func (s *Server) Stop(tb testing.TB, how Shutdown) {
	tb.Helper()
	ctx, cancel := bounded(tb.Context())
	defer cancel()
	if err := s.process.signal(ctx, syscall.Signal(how)); err != nil {
		tb.Fatal(err)
	}
}

// Kill kills the postmaster with SIGKILL, and returns when its children have ended too: they do so by themselves, and
// one of them may answer a commit until then.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	s.Stop(tb, Shutdown(syscall.SIGKILL))
	if err := removeSharedMemory(s.data()); err != nil {
		tb.Fatal(err)
	}
}

// Restart stops the server with [Fast] if it runs, starts it with the same port and data, and returns when it answers.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Stop(tb, Fast)
	ctx, cancel := bounded(tb.Context())
	defer cancel()
	if err := s.launch(ctx); err != nil {
		tb.Fatal(err)
	}
}

// CutConnections ends all clients' connections to a database, and returns how many there were, when they have ended.
// Clients may connect again at once.
func (s *Server) CutConnections(tb testing.TB, database string) int {
	tb.Helper()
	text := s.Text(tb, `SELECT (SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity
		WHERE datid = oid AND backend_type = 'client backend' AND pid <> pg_backend_pid())
		FROM pg_database WHERE datname = $1`, database)
	cut, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatalf("there is no database %q", database)
	}
	return cut
}
