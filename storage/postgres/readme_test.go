package postgres

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

// TestREADME_EachCommandOfPostgreSQLRuns runs the commands of the manual in their order, with a node on the database
// that they make and one on the database that they restore. Those of talos are run by a test of package command.
func TestREADME_EachCommandOfPostgreSQLRuns(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, "fsync = off")
	host, port, err := net.SplitHostPort(server.Addr())
	must(t, err)
	page, err := os.ReadFile(filepath.FromSlash("../README.md"))
	must(t, err)
	_, section, found := strings.Cut(string(page), "\n## PostgreSQL\n")
	if !found {
		t.Fatal("the manual has no section PostgreSQL")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	dsn := func(database string) string {
		return strings.Replace(server.DSN(database), "postgres@", "talos:change-me@", 1)
	}
	dir := t.TempDir()
	run := 0
	for _, block := range strings.Split(section, "\n```sh\n")[1:] {
		script, _, closed := strings.Cut(block, "\n```\n")
		if !closed {
			t.Fatalf("a block has no end: %s", block)
		}
		if strings.HasPrefix(script, "talos ") {
			continue
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=postgres",
			"PATH="+os.Getenv("TALOS_TEST_POSTGRES")+string(os.PathListSeparator)+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s\n%s", err, script, out)
		}
		if run++; run == 1 {
			create(t, openAt(t, dsn("talos"), Options{}), "k")
		}
	}
	if run != 6 {
		t.Errorf("%d blocks were run, want 6", run)
	}
	restored := openAt(t, dsn("restored"), Options{})
	if k, err := restored.Get(t.Context(), core.NetworkID{}, "k"); err != nil || k.Status != core.StatusActive {
		t.Errorf("the restored key is %+v, %v", k, err)
	}
	create(t, restored, "after")
	events, err := restored.Events(t.Context(), 0, 10)
	if err != nil || len(events.Events) != 3 || events.Events[1].Kind != feed.EventRestored {
		t.Errorf("the restored feed is %+v, %v", events, err)
	}
}
