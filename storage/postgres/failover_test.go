package postgres

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

// readWrite is a DSN of one database on two servers, of which the one is used that can be written.
func readWrite(t *testing.T, dsn string, standby *pgtest.Server) string {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	u.Host += "," + standby.Addr()
	u.RawQuery += "&target_session_attrs=read-write"
	return u.String()
}

func TestFailover_ToASynchronousStandbyLosesNothingThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	direct := primary.Database(t)
	standby := primary.Standby(t)
	standby.Synchronous(t)
	dsn := readWrite(t, direct, standby)
	stores := []*Store{openAt(t, dsn, Options{}), openAt(t, dsn, Options{})}
	l := loadOn(t, stores...)
	l.goesOn(t)
	primary.Kill(t)
	standby.Promote(t)
	standby.Exec(t, "ALTER SYSTEM SET synchronous_standby_names = ''")
	standby.Exec(t, "SELECT pg_reload_conf()")
	l.goesOn(t)
	wantKeptAcross(t, standby.DSN(pgtest.Name(t, direct)), l.end(), stores...)
}

func TestFailover_WithoutItsSynchronousStandbyAServerAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t, "fsync = off")
	dsn := primary.Database(t)
	standby := primary.Standby(t, "fsync = off")
	s := openAt(t, dsn, Options{commitTimeout: 2 * time.Second})
	standby.Synchronous(t)
	standby.Kill(t)
	_, _, err := s.Create(t.Context(), testKey("k"))
	wantReason(t, err, core.DeadlineExceeded)
	wantUnknown(t, err)
	primary.Exec(t, "ALTER SYSTEM SET synchronous_standby_names = ''")
	primary.Exec(t, "SELECT pg_reload_conf()")
	eventuallyWorks(t, "changes are made again", func() error {
		_, _, err := s.Create(t.Context(), testKey("another"))
		return err
	})
}

// wantKeptAcross is wantKept after a failover.
func wantKeptAcross(t *testing.T, dsn string, acknowledged map[string]core.Status, stores ...*Store) {
	t.Helper()
	for query, want := range map[string]string{
		"SELECT count(*) FROM events WHERE kind = 5": "1",
		"SELECT count(*) FROM events a WHERE kind <> 5 AND NOT EXISTS " +
			"(SELECT FROM events b WHERE b.seq = a.seq - 1) AND a.seq > 1": "0",
		"SELECT count(*) - count(DISTINCT (network, key_id, kind)) FROM events":                     "0",
		"SELECT (SELECT count(*) FROM keys) - count(*) FROM events WHERE kind=1":                    "0",
		"SELECT (SELECT count(*) FROM keys WHERE status = 2) - count(*) FROM events WHERE kind = 2": "0",
	} {
		if got := queryText(t, dsn, "SELECT ("+query+")::text"); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	wantApplied(t, dsn, acknowledged, stores...)
}

func TestFailover_ThatLosesChangesIsAnotherFeedAndEveryVerdictIsLookedUpAgain(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	direct := primary.Database(t)
	standby := primary.Standby(t)
	dsn := readWrite(t, direct, standby)
	a, b := openAt(t, dsn, Options{}), openAt(t, dsn, Options{})
	create(t, a, "kept")
	standby.CatchUp(t)
	before, err := a.Events(t.Context(), 0, 10)
	must(t, err)

	// It goes on as a standby, and hears of nothing more.
	standby.Exec(t, "ALTER SYSTEM SET primary_conninfo = ''")
	standby.Exec(t, "SELECT pg_reload_conf()")
	eventually(t, "the standby is cut off", func() bool {
		return primary.Text(t, "SELECT count(*) FROM pg_stat_replication") == "0"
	})
	create(t, a, "lost")
	must(t, revoke(t.Context(), b, "kept"))
	for _, s := range []*Store{a, b} {
		eventually(t, "both have applied it", func() bool { return s.positions.Applied() == 3 })
	}
	primary.Kill(t)
	standby.Promote(t)

	for _, s := range []*Store{a, b} {
		eventually(t, "the restoration is applied", func() bool {
			return s.positions.Changed(feed.EventRestored) == 1
		})
		for _, id := range []string{"kept", "lost", "a key that was never there"} {
			if slotOf(s, id) <= 3 {
				t.Errorf("a verdict on %q from before the failover would be used: its slot is at %d", id, slotOf(s, id))
			}
		}
		k, err := s.Get(t.Context(), core.NetworkID{}, "kept")
		if err != nil || k.Status != core.StatusActive {
			t.Errorf("the key is %+v, %v", k, err)
		}
	}
	for i, s := range []*Store{a, b} {
		eventuallyWorks(t, "changes are made again", func() error {
			_, _, err := s.Create(t.Context(), testKey(string(rune('x'+i))))
			return err
		})
	}
	after, err := a.Events(t.Context(), 3, 10)
	must(t, err)
	if after.FeedID == before.FeedID || after.FeedID == "" {
		t.Errorf("the feed is named %q as before", after.FeedID)
	}
	if len(after.Events) != 3 || after.Events[0].Kind != feed.EventRestored || after.Events[0].Position <= 3 {
		t.Fatalf("after position 3 the feed has %+v", after.Events)
	}
	if at := after.Events[0].Position; after.Events[1].Position != at+1 || after.Events[2].Position != at+2 {
		t.Errorf("the feed has a gap: %+v", after.Events)
	}
}

// TestFailover_BehindAConnectionThatStaysIsNoticedByTheFeed has a database that is taken back under a store, as behind
// a proxy that leads to another server.
func TestFailover_BehindAConnectionThatStaysIsNoticedByTheFeed(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s := openAt(t, dsn, Options{})
	create(t, s, "kept")
	create(t, s, "lost")
	execute(t, dsn, "BEGIN; DELETE FROM keys WHERE key_id = 'lost'; DELETE FROM events WHERE seq = 2; "+
		"UPDATE issued_prefixes SET keys = 1; UPDATE feed_last SET last = 1; COMMIT")
	eventually(t, "the restoration is applied", func() bool { return s.positions.Changed(feed.EventRestored) == 1 })
	if slotOf(s, "lost") <= 2 {
		t.Error("a verdict from before would be used")
	}
	create(t, s, "after")
	page, err := s.Events(t.Context(), 2, 10)
	if err != nil || len(page.Events) != 2 || page.Events[0].Kind != feed.EventRestored {
		t.Errorf("the feed goes on with %+v, %v", page.Events, err)
	}
}

func TestFailover_ADatabaseThatIsRestoredFromADumpIsAnotherFeed(t *testing.T) {
	t.Parallel()
	from, to := pgtest.Database(t), pgtest.Database(t)
	s := openAt(t, from, Options{})
	create(t, s, "k")
	must(t, s.ClaimSecret(t.Context(), core.NetworkID{}, []string{"check"}))
	before, err := s.Events(t.Context(), 0, 10)
	must(t, err)

	dump := filepath.Join(t.TempDir(), "talos.dump")
	command(t, "pg_dump", "--format", "custom", "--file", dump, from)
	command(t, "pg_restore", "--exit-on-error", "--no-owner", "--dbname", to, dump)
	began := time.Now()
	restored := openAt(t, to, Options{})
	page, err := restored.Events(t.Context(), 0, 10)
	must(t, err)
	if page.FeedID == before.FeedID {
		t.Error("the feed has the name of the one that it is a copy of")
	}
	if len(page.Events) != 2 || page.Events[1].Kind != feed.EventRestored ||
		page.Events[1].Position < uint64(began.UnixMicro()) {
		t.Errorf("the feed is %+v", page.Events)
	}
	if k, err := restored.Get(t.Context(), core.NetworkID{}, "k"); err != nil || k.Status != core.StatusActive {
		t.Errorf("the key is %+v, %v", k, err)
	}
	wantReason(t, restored.ClaimSecret(t.Context(), core.NetworkID{}, []string{"another"}), core.FailedPrecondition)
	create(t, restored, "after")
	if got, err := s.Events(t.Context(), 0, 10); err != nil || got.FeedID != before.FeedID || len(got.Events) != 1 {
		t.Errorf("the original has changed: %+v, %v", got, err)
	}
}

// command runs a program of PostgreSQL.
func command(t *testing.T, name string, args ...string) {
	t.Helper()
	path := filepath.Join(os.Getenv("TALOS_TEST_POSTGRES"), name)
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
