package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// backup copies a database into a folder of its own, and returns the copy.
func backup(t *testing.T, path string) string {
	t.Helper()
	target := filepath.Join(t.TempDir(), "talos.db")
	if _, err := Backup(t.Context(), path, target); err != nil {
		t.Fatal(err)
	}
	return target
}

func TestBackup_WhileTheStoreWritesIsAPrefixOfItsFeed(t *testing.T) {
	t.Parallel()
	s := openAt(t, newDatabase(t).path, Options{})
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for g := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", g, i)
				if _, _, err := s.Create(t.Context(), testKey(id)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	eventually(t, "there are keys", func() bool { return s.positions.Applied() > 100 })
	for range 5 {
		before := s.positions.Applied()
		target := filepath.Join(t.TempDir(), "talos.db")
		state, err := Backup(t.Context(), pathOf(t, s), target)
		if err != nil {
			t.Fatal(err)
		}
		if state.Position < before || state.Keys != int64(state.Position) {
			t.Errorf("%d keys up to %d; %d were acknowledged before", state.Keys, state.Position, before)
		}
		for query, want := range map[string]string{
			"PRAGMA integrity_check":                 "ok",
			"SELECT MAX(seq) - COUNT(*) FROM events": "0",
			"SELECT COUNT(*) FROM (SELECT key_id FROM events EXCEPT SELECT key_id FROM keys)": "0",
		} {
			if got := outsideText(t, target, query); got != want {
				t.Errorf("%s: %s, want %s", query, got, want)
			}
		}
	}
	before := s.positions.Applied()
	eventually(t, "the store goes on", func() bool { return s.positions.Applied() > before })
	stop()
	writers.Wait()
}

func TestBackup_IsForItsOwnerAndReplacesNothing(t *testing.T) {
	t.Parallel()
	s := openAt(t, newDatabase(t).path, Options{})
	target := backup(t, pathOf(t, s))
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := Backup(t.Context(), pathOf(t, s), target); !os.IsExist(err) {
		t.Errorf("a file that is there: %v", err)
	}
}

func TestBackup_OfNoDatabaseOrANewerOneIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	missing, target := filepath.Join(dir, "none", "talos.db"), filepath.Join(dir, "copy.db")
	_, err := Backup(t.Context(), missing, target)
	wantReason(t, err, core.FailedPrecondition)

	newer := filepath.Join(dir, "newer.db")
	if _, err := MigrateUp(t.Context(), newer, 0); err != nil {
		t.Fatal(err)
	}
	newerSchema(t, newer, migrations().New().Newest+1)
	_, err = Backup(t.Context(), newer, target)
	wantReason(t, err, core.FailedPrecondition)
	for _, path := range []string{filepath.Dir(missing), target} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("it made %s", path)
		}
	}
}

func TestBackup_ThatIsCutShortIsAnError(t *testing.T) {
	t.Parallel()
	s := openAt(t, newDatabase(t).path, Options{})
	create(t, s, "k")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Backup(ctx, pathOf(t, s), filepath.Join(t.TempDir(), "copy.db")); err == nil {
		t.Error("no error")
	}
}

// A restore goes back to an earlier state of the feed. An edge that has read position 3 before it must not pass over
// the change that would get position 3 after it, and must not take answers of the restored database for outdated ones.
func TestAttack05_ARestoredBackupGivesNoPositionASecondTime(t *testing.T) {
	t.Parallel()
	s := openAt(t, newDatabase(t).path, Options{})
	create(t, s, "a")
	target := backup(t, pathOf(t, s))
	create(t, s, "b")
	create(t, s, "c") // lost by the restore
	known := s.positions.Applied()

	seen, logs := observer.New(zap.InfoLevel)
	restored := openAt(t, target, Options{Logger: zap.New(seen)})
	if got := restored.positions.Applied(); got <= known {
		t.Errorf("the restored database begins at position %d; an edge knows %d", got, known)
	}
	if logs.FilterMessageSnippet("restored from a backup").Len() != 1 {
		t.Error("the log does not say that the database was restored")
	}
	r := core.Revocation{Time: testTime}
	if _, err := restored.Revoke(t.Context(), core.NetworkID{}, core.AnyKind, "a", r); err != nil {
		t.Fatal(err)
	}
	page, err := restored.Events(t.Context(), known, core.MaxEvents)
	events := page.Events
	if err != nil || len(events) != 2 {
		t.Fatalf("after %d: %+v, %v", known, events, err)
	}
	if original, err := s.Events(t.Context(), 0, 1); err != nil || original.FeedID == page.FeedID {
		t.Errorf("the restored database's feed has the original's name %q, %v", page.FeedID, err)
	}
	if events[0].Kind != feed.EventRestored || events[1].Kind != feed.EventRevoked || events[1].KeyID != "a" ||
		events[1].Position != events[0].Position+1 {
		t.Errorf("got %+v", events)
	}
	if err := restored.Close(); err != nil {
		t.Fatal(err)
	}
	again := openAt(t, target, Options{})
	if got := again.positions.Applied(); got != events[1].Position {
		t.Errorf("a second start began a new position %d after %d", got, events[1].Position)
	}
}

func TestABackupOfARestoredDatabaseIsRestoredBeyondItToo(t *testing.T) {
	t.Parallel()
	first := openAt(t, backup(t, pathOf(t, openAt(t, newDatabase(t).path, Options{}))), Options{})
	target := backup(t, pathOf(t, first))
	create(t, first, "lost")
	second := openAt(t, target, Options{})
	if got, known := second.positions.Applied(), first.positions.Applied(); got <= known {
		t.Errorf("it begins at %d, and %d is known", got, known)
	}
}

func TestReadState_ReportsWhatIsThereAndChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "talos.db")
	if _, err := ReadState(t.Context(), path); core.ReasonOf(err) != core.FailedPrecondition {
		t.Errorf("of no database: %v", err)
	}
	s := openAt(t, path, Options{})
	k := testKey("k")
	k.Prefix = "acme"
	if _, _, err := s.Create(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if err := s.ClaimSecret(t.Context(), core.NetworkID{}, []string{"check"}); err != nil {
		t.Fatal(err)
	}
	look := func(files int) {
		t.Helper()
		before, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		state, err := ReadState(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if state.Version != state.Newest || state.Keys != 1 || state.Position != 1 || !state.Changed.Equal(testTime) ||
			state.Checks[core.NetworkID{}] != "check" || len(state.Files) != files ||
			!slices.Equal(state.Prefixes, []core.PrefixCount{{Prefix: "acme", Keys: 1}}) {
			t.Errorf("%+v", state)
		}
		after, err := os.ReadDir(dir)
		if err != nil || len(before) != len(after) {
			t.Errorf("there were %v, and are %v: %v", before, after, err)
		}
	}
	look(3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	look(1)
	// An empty log without shared memory is what a restored backup has.
	if err := os.WriteFile(path+"-wal", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	look(2)
	// An older schema does not count keys by prefix.
	downTo(t, path, 2)
	state, err := ReadState(t.Context(), path)
	if err != nil || state.Version != 2 || state.Keys != 1 || state.Prefixes != nil ||
		state.Checks[core.NetworkID{}] != "check" {
		t.Errorf("of an older schema: %+v, %v", state, err)
	}
}
