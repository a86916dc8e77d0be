package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
)

// Standby starts a standby of the server, with its settings and more lines of postgresql.conf, and returns when it
// replicates by streaming and answers queries.
func (s *Server) Standby(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	ctx, cancel := bounded(tb.Context())
	defer cancel()
	standby, err := s.startStandby(ctx, settings)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { standby.remove(tb) })
	s.await(tb, "streaming", "SELECT state FROM pg_stat_replication WHERE application_name = $1", standby.name)
	return standby
}

func (s *Server) startStandby(ctx context.Context, settings []string) (*Server, error) {
	standby, err := newServer(s.options)
	if err != nil {
		return nil, err
	}
	standby.tls, standby.primary = s.tls, s
	if err := standby.copyPrimary(ctx, settings); err != nil {
		return nil, errors.Join(err, os.RemoveAll(standby.folder))
	}
	if err := standby.launchFirst(ctx); err != nil {
		return nil, err
	}
	return standby, nil
}

// copyPrimary makes the standby's cluster.
func (s *Server) copyPrimary(ctx context.Context, settings []string) error {
	err := run(ctx, s.folder, binary("pg_basebackup"), "--pgdata", s.data(), "--write-recovery-conf", "--no-sync",
		"--checkpoint", "fast", "--dbname", fmt.Sprintf("host=%s port=%s user=%s application_name=%s",
			s.primary.folder, s.primary.port, superuser, s.name))
	if err != nil {
		return err
	}
	return s.configure(settings)
}

// Synchronous makes the primary answer a commit only when this standby has written it to disk, and returns when that
// holds.
func (s *Server) Synchronous(tb testing.TB) {
	tb.Helper()
	s.primary.Exec(tb, `ALTER SYSTEM SET synchronous_standby_names = '"`+s.name+`"'`)
	s.primary.Exec(tb, "SELECT pg_reload_conf()")
	s.primary.await(tb, "sync", "SELECT sync_state FROM pg_stat_replication WHERE application_name = $1", s.name)
}

// CatchUp returns when the standby shows what the primary has committed until now.
func (s *Server) CatchUp(tb testing.TB) {
	tb.Helper()
	s.await(tb, "t", "SELECT pg_last_wal_replay_lsn() >= $1",
		s.primary.Text(tb, "SELECT pg_current_wal_flush_lsn()"))
}

// PauseReplay makes the standby show what it shows now, while it goes on receiving what the primary commits.
func (s *Server) PauseReplay(tb testing.TB) {
	tb.Helper()
	s.Exec(tb, "SELECT pg_wal_replay_pause()")
	s.await(tb, "paused", "SELECT pg_get_wal_replay_pause_state()")
}

// ResumeReplay ends [Server.PauseReplay].
func (s *Server) ResumeReplay(tb testing.TB) {
	tb.Helper()
	s.Exec(tb, "SELECT pg_wal_replay_resume()")
}

// Promote makes the standby a primary of its own, and returns when it accepts changes. The old primary is not stopped.
func (s *Server) Promote(tb testing.TB) {
	tb.Helper()
	s.Exec(tb, "SELECT pg_promote()")
	s.await(tb, "f", "SELECT pg_is_in_recovery()")
}
