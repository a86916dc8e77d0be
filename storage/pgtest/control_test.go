package pgtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/storage/pgtest"
)

func TestKill_LosesNothingThatWasCommitted(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t)
	conn := connect(t, s.DSN("postgres"))
	execute(t, conn, "CREATE TABLE things AS SELECT 1 AS n")
	execute(t, conn, "BEGIN")
	execute(t, conn, "INSERT INTO things VALUES (2)")
	addr := s.Addr()
	segment := s.Text(t, `SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 7)`) // "key id"
	s.Kill(t)
	segments, err := os.ReadFile("/proc/sysvipc/shm") // only Linux has it
	if id := strings.Fields(segment)[1]; err == nil && slices.Contains(strings.Fields(string(segments)), id) {
		t.Errorf("shared memory %s is left:\n%s", id, segments)
	}
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a connection survives the kill")
	}
	refused(t, "a client of a server that was killed", s.DSN("postgres"))
	s.Restart(t)
	if s.Addr() != addr {
		t.Errorf("after the restart the server listens on %s, before on %s", s.Addr(), addr)
	}
	wantText(t, s, "SELECT string_agg(n::text, ',') FROM things", "1")
}

func TestStop_FastIsCleanAndImmediateIsACrash(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t)
	s.Exec(t, "CREATE TABLE things AS SELECT 1 AS n")
	s.Exec(t, "CREATE UNLOGGED TABLE lost_in_a_crash AS SELECT 1 AS n")
	for _, step := range []struct {
		how  pgtest.Shutdown
		left string // rows of the unlogged table
	}{{pgtest.Fast, "1"}, {pgtest.Immediate, "0"}} {
		s.Stop(t, step.how)
		refused(t, "a client of a server that was stopped", s.DSN("postgres"))
		s.Restart(t)
		wantText(t, s, "SELECT count(*) FROM things", "1")
		wantText(t, s, "SELECT count(*) FROM lost_in_a_crash", step.left)
	}
}

func TestRestart_OfARunningServerIsClean(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t)
	s.Exec(t, "CREATE UNLOGGED TABLE lost_in_a_crash AS SELECT 1 AS n")
	s.Restart(t)
	wantText(t, s, "SELECT count(*) FROM lost_in_a_crash", "1")
}

func TestCutConnections_EndsThoseOfOneDatabase(t *testing.T) {
	t.Parallel()
	s := pgtest.Shared(t)
	dsn := pgtest.Database(t)
	first, second := connect(t, dsn), connect(t, dsn)
	other := connect(t, pgtest.Database(t))
	if cut := s.CutConnections(t, pgtest.Name(t, dsn)); cut != 2 {
		t.Errorf("%d connections were cut, want 2", cut)
	}
	if first.Ping(t.Context()) == nil || second.Ping(t.Context()) == nil {
		t.Error("a connection was not cut")
	}
	if err := other.Ping(t.Context()); err != nil {
		t.Errorf("the connection to another database was cut: %v", err)
	}
	connect(t, dsn)
}

func TestStandby_ShowsWhatIsReplayedAndTakesOver(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	primary.Exec(t, "CREATE TABLE things AS SELECT 1 AS n")
	standby := primary.Standby(t, "work_mem = 7MB")
	wantText(t, standby, "SHOW work_mem", "7MB")
	standby.CatchUp(t)
	wantText(t, standby, "SELECT count(*) FROM things", "1")

	standby.PauseReplay(t)
	standby.Synchronous(t) // committed means: written by the standby, although not shown
	wantText(t, primary, "SELECT sync_state FROM pg_stat_replication", "sync")
	primary.Exec(t, "INSERT INTO things VALUES (2)")
	wantText(t, standby, "SELECT count(*) FROM things", "1")
	standby.ResumeReplay(t)
	standby.CatchUp(t)
	wantText(t, standby, "SELECT count(*) FROM things", "2")

	primary.Exec(t, "INSERT INTO things VALUES (3)")
	primary.Kill(t)
	standby.Promote(t)
	wantText(t, standby, "SELECT count(*) FROM things", "3")
	standby.Exec(t, "INSERT INTO things VALUES (4)")
}

const dyingEnv = "TALOS_TEST_PGTEST_DYING"

// TestServersEndWithTheTestBinary runs itself once more, as a process that kills itself while it has a server.
func TestServersEndWithTheTestBinary(t *testing.T) {
	t.Parallel()
	if os.Getenv(dyingEnv) != "" {
		s := pgtest.Start(t, "fsync = off")
		fmt.Println("data:" + s.Text(t, "SHOW data_directory"))
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		_ = self.Kill()
		select {}
	}
	pgtest.Shared(t) // or the test is skipped
	if runtime.GOOS != "linux" {
		return
	}
	left, err := os.MkdirTemp("", "left-") //nolint:usetesting // the user postgres cannot look into t.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(left) })
	if err := os.Chmod(left, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServersEndWithTheTestBinary$")
	cmd.Env = append(os.Environ(), dyingEnv+"=1", "TMPDIR="+left)
	out, err := cmd.Output()
	_, data, found := strings.Cut(string(out), "data:")
	if err == nil || !found {
		t.Fatalf("the process ends with %v and says %s", err, out)
	}
	data = strings.TrimSpace(data)
	eventually(t, "the server has ended", func() bool {
		_, err := os.Stat(filepath.Join(data, "postmaster.pid")) // removed last
		return os.IsNotExist(err)
	})
}
