package postgres

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

// killWriterEnv makes the test binary a process that writes to the database of a DSN until it is killed.
const killWriterEnv = "TALOS_TEST_KILL_WRITER"

// TestAttack21_KilledWhileWriting kills one of two processes while both create and revoke keys. What they had
// acknowledged on their standard output must be there, and the one that goes on must not be held up by what the other
// left.
func TestAttack21_KilledWhileWriting(t *testing.T) {
	t.Parallel()
	rounds := 3
	if os.Getenv("TALOS_LONG") != "" {
		rounds = 60
	}
	dsn := pgtest.Database(t)
	s := openAt(t, dsn, Options{})
	acknowledged := make(map[string]core.Status)
	for round := range rounds {
		var both sync.WaitGroup
		written := make([]map[string]core.Status, 2)
		for i := range written {
			both.Go(func() { written[i] = killedWriter(t, dsn, (i+1)*(50+37*(round%7))) })
		}
		both.Wait()
		for _, w := range written {
			maps.Copy(acknowledged, w)
		}
		if t.Failed() {
			t.FailNow()
		}
		create(t, s, fmt.Sprintf("after round %d", round))
	}
	// A transaction that was committed may not have been acknowledged; one that was not is gone with its session.
	eventually(t, "the sessions of those that were killed have ended", func() bool {
		return queryText(t, dsn, "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() "+
			"AND state LIKE 'idle in transaction%'") == "0"
	})
	wantKept(t, dsn, acknowledged, s)
}

// killedWriter runs a writer, kills it after it has written some lines, and returns what all its lines acknowledge.
func killedWriter(t *testing.T, dsn string, after int) map[string]core.Status {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), killWriterEnv+"="+dsn)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	acknowledged, lines := make(map[string]core.Status), 0
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		verb, id, _ := strings.Cut(scanner.Text(), " ")
		switch verb {
		case "created":
			acknowledged[id] = max(acknowledged[id], core.StatusActive)
		case "revoked":
			acknowledged[id] = core.StatusRevoked
		default:
			t.Errorf("the writer says %q", scanner.Text())
		}
		if lines++; lines == after {
			_ = cmd.Process.Kill()
		}
	}
	if err := cmd.Wait(); err == nil || lines < after {
		t.Errorf("the writer ended by itself after %d lines: %v", lines, err)
	}
	return acknowledged
}

// writeUntilKilled creates keys and revokes every other one, in several goroutines, and writes a line after each
// answer.
func writeUntilKilled(dsn string) error {
	ctx := context.Background()
	s, err := Open(ctx, location(dsn), Options{})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for g := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d-%d", os.Getpid(), time.Now().UnixNano(), g, i)
				if _, _, err := s.Create(ctx, testKey(id)); err != nil {
					failed <- err
				}
				fmt.Printf("created %s\n", id)
				if i%2 == 0 {
					continue
				}
				if err := revoke(ctx, s, id); err != nil {
					failed <- err
				}
				fmt.Printf("revoked %s\n", id)
			}
		}()
	}
	return <-failed
}
