package sqlite

import (
	"bufio"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// killWriterEnv makes the test binary a process that writes to the named file until it is killed.
const killWriterEnv = "TALOS_TEST_KILL_WRITER"

var kills = flag.Int("kills", 0, "how often TestAttack21 kills a process that writes; TALOS_KILLS sets it too")

// killCampaign is how often a process is killed, and how many times the fewest lines it writes before: three times, or,
// in the long variant, 260 times with more than 139,000 lines in all.
func killCampaign(t *testing.T) (rounds, lines int) {
	t.Helper()
	rounds, lines = 3, 1
	if os.Getenv("TALOS_LONG") != "" {
		rounds, lines = 260, 4
	}
	if s := os.Getenv("TALOS_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("TALOS_KILLS: %v", err)
		}
		rounds = n
	}
	if *kills > 0 {
		rounds = *kills
	}
	return rounds, lines
}

// TestAttack21_KilledWhileWriting kills a process while it creates and revokes keys, and looks at what it left. What it
// had acknowledged on its standard output must be there; the file must be sound, and its tables must agree.
func TestAttack21_KilledWhileWriting(t *testing.T) {
	t.Parallel()
	rounds, factor := killCampaign(t)
	d := newDatabase(t)
	acknowledged, lines := make(map[string]core.Status), 0
	for round := range rounds {
		written := make(map[string]core.Status)
		for _, line := range killedWriter(t, d.path, factor*(50+37*(round%7))) {
			verb, id, _ := strings.Cut(line, " ")
			switch verb {
			case "created":
				written[id] = max(written[id], core.StatusActive)
			case "revoked":
				written[id] = core.StatusRevoked
			default:
				t.Fatalf("the writer says %q", line)
			}
			lines++
		}
		maps.Copy(acknowledged, written)
		if round%20 == 0 || round == rounds-1 {
			written = acknowledged // what earlier writers left, too
		}
		checkFile(t, d, written)
		if t.Failed() {
			t.Fatalf("after kill %d of %d", round+1, rounds)
		}
	}
	t.Logf("%d kills, %d acknowledged writes of %d keys", rounds, lines, len(acknowledged))
}

// killedWriter runs a writer, kills it after it has written some lines, and returns all lines that it wrote.
func killedWriter(t *testing.T, path string, after int) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), killWriterEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
		if len(lines) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(lines) < after {
		t.Fatalf("the writer ended by itself after %d lines: %v", len(lines), err)
	}
	return lines
}

// checkFile opens what a killed process left.
func checkFile(t *testing.T, d *database, acknowledged map[string]core.Status) {
	t.Helper()
	s, err := Open(t.Context(), d.path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for id, status := range acknowledged {
		k, err := s.Get(t.Context(), core.NetworkID{}, id)
		if err != nil || k.Status < status {
			t.Errorf("key %s was acknowledged with status %d, and is %d: %v", id, status, k.Status, err)
		}
	}
	for query, want := range map[string]string{
		"PRAGMA integrity_check": "ok",
		"SELECT COUNT(*) FROM (SELECT key_id FROM events " +
			"EXCEPT SELECT key_id FROM keys)": "0",
		"SELECT COUNT(*) FROM (SELECT created_seq FROM keys " +
			"EXCEPT SELECT seq FROM events WHERE kind = 1)": "0",
		"SELECT COUNT(*) FROM (SELECT key_id FROM keys WHERE status = 2 " +
			"EXCEPT SELECT key_id FROM events WHERE kind = 2)": "0",
		"SELECT COUNT(*) FROM (SELECT key_id FROM events WHERE kind = 2 " +
			"EXCEPT SELECT key_id FROM keys WHERE status = 2)": "0",
		"SELECT MAX(seq) - COUNT(*) FROM events":                                                        "0",
		"SELECT (SELECT SUM(keys) FROM issued_prefixes) - (SELECT COUNT(*) FROM keys WHERE status = 1)": "0",
	} {
		if got := queryText(t, s.readers, query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func queryText(tb testing.TB, db *sql.DB, query string) string {
	tb.Helper()
	var text string
	if err := db.QueryRowContext(tb.Context(), query).Scan(&text); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return text
}

// writeUntilKilled creates keys and revokes every other one, in several goroutines, and writes a line after each
// answer.
func writeUntilKilled(path string) {
	ctx := context.Background()
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s, err := Open(ctx, path, Options{})
	if err != nil {
		fail(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i)
				now := time.Now()
				_, _, err := s.Create(ctx, core.Key{
					ID: id, Kind: core.Issued, Status: core.StatusActive, CreateTime: now, UpdateTime: now,
				})
				if err != nil {
					fail(err)
				}
				fmt.Printf("created %s\n", id)
				if i%2 == 0 {
					continue
				}
				if _, err := s.Revoke(ctx, core.NetworkID{}, core.Issued, id, core.Revocation{Time: now}); err != nil {
					fail(err)
				}
				fmt.Printf("revoked %s\n", id)
			}
		})
	}
	wg.Wait()
}
