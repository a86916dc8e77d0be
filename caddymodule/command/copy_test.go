package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/storage"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

// moved are the databases of a move, and nodes with the same secrets on them.
type moved struct {
	from, to string
	env      []string
}

func newMoved(t *testing.T, from, to string) *moved {
	t.Helper()
	dir, env := home(t)
	keys := filepath.Join(dir, "keys.json")
	if out, exit := runBinary(t, nil, "jwk", "generate", "eddsa", "--jwks", "-o", keys); exit != 0 {
		t.Fatal(out)
	}
	return &moved{from, to, append(env, envCurrent+"="+secretA, envSigningKeys+"="+keys)}
}

func sqliteDSN(t *testing.T) string {
	t.Helper()
	return "sqlite://" + filepath.Join(t.TempDir(), "talos.db")
}

// serve starts a node on a database.
func (m *moved) serve(t *testing.T, dsn string) *server {
	t.Helper()
	return serveBinary(t, append(slices.Clone(m.env), envDSN+"="+dsn))
}

// copy copies, and returns what the command says.
func (m *moved) copy(t *testing.T, options ...string) (stdout, stderr string, exit int) {
	t.Helper()
	return runBinaryBoth(t, m.env, append([]string{"copy", "--from", m.from, "--to", m.to}, options...)...)
}

// follow starts a copy that follows, and waits until it does.
func (m *moved) follow(t *testing.T, options ...string) *server {
	t.Helper()
	c, err := tryCommand(t, m.env, append([]string{"copy", "--from", m.from, "--to", m.to, "--follow"}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// interrupt sends a signal as Ctrl-C does.
func (s *server) interrupt(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// waitFor waits until a process says something.
func (s *server) waitFor(t *testing.T, text string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(s.log(), text) {
		select {
		case <-tick.C:
		case err := <-s.exited:
			s.stopped = true
			t.Fatalf("it ended: %v\n%s", err, s.log())
		}
	}
}

// succeed waits for the end of a copy.
func (s *server) succeed(t *testing.T) {
	t.Helper()
	if err := s.wait(); err != nil {
		t.Fatalf("%v\n%s", err, s.log())
	}
}

// eachMove runs a test from SQLite to PostgreSQL and back.
func eachMove(t *testing.T, test func(t *testing.T, m *moved)) {
	t.Helper()
	t.Run("from sqlite to postgres", func(t *testing.T) {
		t.Parallel()
		test(t, newMoved(t, sqliteDSN(t), pgtest.Database(t)))
	})
	t.Run("from postgres to sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, newMoved(t, pgtest.Database(t), sqliteDSN(t)))
	})
}

// page lists a page of one key, and returns the key's id and the token of the next page.
func (s *server) page(t *testing.T, token string) (keyID, next string) {
	t.Helper()
	out, exit := s.talos(t, "keys", "issued", "list", "--page-size", "1", "--page-token", token, "--format", "json")
	var page struct {
		Keys []struct {
			ID string `json:"key_id"`
		} `json:"issued_api_keys"`
		Next string `json:"next_page_token"`
	}
	if err := json.Unmarshal([]byte(out), &page); err != nil || exit != 0 || len(page.Keys) != 1 {
		t.Fatalf("exit status %d, %v: %s", exit, err, out)
	}
	return page.Keys[0].ID, page.Next
}

func TestCopy_KeysTokensAndPagesGoOnOnTheNewDatabase(t *testing.T) {
	t.Parallel()
	eachMove(t, func(t *testing.T, m *moved) {
		t.Helper()
		old := m.serve(t, m.from)
		good, goodID := old.issue(t)
		revoked, revokedID := old.issue(t)
		_, suspendedID := old.issue(t)
		for _, args := range [][]string{{"revoke", revokedID}, {"suspend", suspendedID}} {
			if _, exit := old.talos(t, append([]string{"keys"}, args...)...); exit != 0 {
				t.Fatal(args)
			}
		}
		jwt, exit := old.talos(t, "keys", "derive-token", good, "-q")
		if exit != 0 {
			t.Fatal("derive failed")
		}
		macaroon, exit := old.talos(t, "keys", "derive-token", good, "--algorithm", "macaroon", "-q")
		if exit != 0 {
			t.Fatal("derive failed")
		}
		first, token := old.page(t, "")
		if err := old.stop(t, syscall.SIGTERM); err != nil {
			t.Error(err)
		}

		said := runManual(t, t.TempDir(), append(slices.Clone(m.env), "OLD="+m.from, "NEW="+m.to), "talos copy ")
		for _, want := range []string{
			"\nkeys             3 ", "\nevents           5 ", "The HMAC secret is the one in " + envCurrent + " here.",
		} {
			if !strings.Contains(said, want) {
				t.Errorf("it does not say %q:\n%s", want, said)
			}
		}

		fresh := m.serve(t, m.to)
		fresh.wantVerdict(t, good, true)
		fresh.wantVerdict(t, revoked, false)
		fresh.wantVerdict(t, strings.TrimSpace(jwt), true)
		fresh.wantVerdict(t, strings.TrimSpace(macaroon), true)
		if second, _ := fresh.page(t, token); first != goodID || second != revokedID {
			t.Errorf("the pages have the keys %s and %s, want %s and %s", first, second, goodID, revokedID)
		}
		if out, exit := fresh.talos(t, "keys", "resume", suspendedID); exit != 0 {
			t.Errorf("the suspended key cannot be resumed: %s", out)
		}
		newest, _ := fresh.issue(t)
		fresh.wantVerdict(t, newest, true)
		if _, exit := fresh.talos(t, "keys", "revoke", goodID); exit != 0 {
			t.Error("revoke failed")
		}
		fresh.wantVerdict(t, good, false)
		fresh.wantVerdict(t, strings.TrimSpace(jwt), false)
	})
}

func TestCopy_FollowsTheSourceUntilItsNodesHaveEnded(t *testing.T) {
	t.Parallel()
	eachMove(t, func(t *testing.T, m *moved) {
		t.Helper()
		old := m.serve(t, m.from)
		before, _ := old.issue(t)
		c := m.follow(t, "--until-idle", "1ms")
		meanwhile, meanwhileID := old.issue(t)
		last, _ := old.issue(t)
		if _, exit := old.talos(t, "keys", "revoke", meanwhileID); exit != 0 {
			t.Fatal("revoke failed")
		}
		if err := old.stop(t, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		c.succeed(t)
		fresh := m.serve(t, m.to)
		fresh.wantVerdict(t, before, true)
		fresh.wantVerdict(t, last, true)
		fresh.wantVerdict(t, meanwhile, false)
	})
}

func TestCopy_IsCompletedByAnInterruptWhenTheNodesHaveEnded(t *testing.T) {
	t.Parallel()
	eachMove(t, func(t *testing.T, m *moved) {
		t.Helper()
		old := m.serve(t, m.from)
		c := m.follow(t)
		secret, _ := old.issue(t)
		c.interrupt(t)
		late, _ := old.issue(t) // the node uses the database
		if err := old.stop(t, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		c.succeed(t)
		fresh := m.serve(t, m.to)
		fresh.wantVerdict(t, secret, true)
		fresh.wantVerdict(t, late, true)
	})
}

func TestCopy_ASecondInterruptLeavesATargetThatNoNodeOpens(t *testing.T) {
	t.Parallel()
	eachMove(t, func(t *testing.T, m *moved) {
		t.Helper()
		old := m.serve(t, m.from)
		secret, _ := old.issue(t)
		c := m.follow(t)
		c.interrupt(t)
		c.waitFor(t, "Ctrl-C again") // two signals at once may be one
		c.interrupt(t)
		err := c.wait()
		exited, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exited.ExitCode() != 1 || !strings.Contains(c.log(), "interrupted") {
			t.Errorf("%v: %s", err, c.log())
		}
		_, err = tryCommand(t, append(slices.Clone(m.env), envDSN+"="+m.to, envPort+"=1"), "serve")
		if err == nil || !strings.Contains(err.Error(), "a copy into this database has not been completed") {
			t.Errorf("a node on the target: %v", err)
		}
		if err := old.stop(t, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if _, stderr, exit := m.copy(t); exit != 0 {
			t.Errorf("it cannot be begun anew: %s", stderr)
		}
		m.serve(t, m.to).wantVerdict(t, secret, true)
	})
}

func TestCopy_SaysThatTheSourceHasChangedSince(t *testing.T) {
	t.Parallel()
	to := sqliteDSN(t)
	if _, err := storage.MigrateUp(t.Context(), to, 0); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetContext(t.Context())
	c := copying{from: sqliteDSN(t), to: to}
	if err := c.report(cmd, &storage.CopyResult{Position: 40, Missed: 2}); err == nil {
		t.Error("its exit status is 0")
	}
	if !strings.Contains(errs.String(), "up to change 42") {
		t.Errorf("it says %s", &errs)
	}
}

func TestCopy_RefusesWhatItCannotDoAndShowsNoPassword(t *testing.T) {
	t.Parallel()
	good := sqliteDSN(t)
	secret := "postgres://user:hunter2@127.0.0.1:1/db"
	for name, args := range map[string][]string{
		"no databases":                {},
		"no target":                   {"--from", good},
		"no source":                   {"--to", good},
		"an argument":                 {"--from", good, "--to", sqliteDSN(t), "more"},
		"idle without follow":         {"--from", good, "--to", sqliteDSN(t), "--until-idle", "1s"},
		"a negative time":             {"--from", good, "--to", sqliteDSN(t), "--follow", "--until-idle", "-1s"},
		"a source that is missing":    {"--from", good, "--to", sqliteDSN(t)},
		"a source that is not there":  {"--from", secret, "--to", sqliteDSN(t)},
		"a source of another kind":    {"--from", "mysql://user:hunter2@host/db", "--to", good},
		"a source that is no DSN":     {"--from", "user:hunter2@host/db", "--to", good},
		"a source of another machine": {"--from", "postgres://user:hunter2@db.example/db", "--to", good},
	} {
		stdout, stderr, err := runTree(t.Context(), "", append([]string{"copy"}, args...)...)
		if err == nil || strings.Contains(stdout+stderr+err.Error(), "hunter2") {
			t.Errorf("%s: %v %s", name, err, stderr)
		}
	}
}
