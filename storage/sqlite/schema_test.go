package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/internal/schema"
)

func TestSchema_OfNoDatabaseIsThatOfAnEmptyOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "talos.db")
	none, err := ReadSchema(t.Context(), path)
	if err != nil || none.Version != 0 || none.Newest == 0 {
		t.Fatal(none, err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("reading the schema made a file")
	}
	up, err := MigrateUp(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if up.Version != up.Newest || up.Newest != none.Newest || len(up.Versions) != len(none.Versions) {
		t.Errorf("%+v, and before there was one %+v", up, none)
	}
	for i, v := range up.Versions {
		want := none.Versions[i]
		want.Applied = true
		if v != want || none.Versions[i].Applied {
			t.Errorf("%+v, and before there was one %+v", v, none.Versions[i])
		}
	}
}

func TestSchema_ReadingChangesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "other.db")
	if err := createFile(path); err != nil {
		t.Fatal(err)
	}
	s, err := ReadSchema(t.Context(), path)
	if err != nil || s.Version != 0 {
		t.Error(s, err)
	}
	if b, err := os.ReadFile(path); err != nil || len(b) > 0 {
		t.Errorf("%v: an empty file has %d bytes now", err, len(b))
	}
}

func TestSchema_EachStepDownLeavesWhatTheStepUpCanGoOnFrom(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "talos.db")
	top, err := MigrateUp(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	for v := top.Version; v > 0; v-- {
		if s, err := MigrateDown(t.Context(), path, 1); err != nil || s.Version != v-1 {
			t.Fatal(s, err)
		}
	}
	for v := int64(1); v <= top.Version; v++ {
		if s, err := MigrateUp(t.Context(), path, 1); err != nil || s.Version != v {
			t.Fatal(s, err)
		}
	}
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSchema_TakenDownUnderAStoreMakesItUnready(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "talos.db")
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := MigrateDown(t.Context(), path, 2); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("it is ready, although it can look no key up")
	}
	if _, err := MigrateUp(t.Context(), path, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("after the schema is back: %v", err)
	}
}

func TestSchema_NewerThanThisBuildIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "talos.db")
	top, err := MigrateUp(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	newerSchema(t, path, top.Newest+1)
	if _, err := MigrateUp(t.Context(), path, 0); core.ReasonOf(err) != core.FailedPrecondition {
		t.Error(err)
	}
	if _, err := MigrateDown(t.Context(), path, 1); core.ReasonOf(err) != core.FailedPrecondition {
		t.Error(err)
	}
	if s, err := ReadSchema(t.Context(), path); err != nil || s.Version != 99 {
		t.Error(s, err)
	}
}

func TestSchema_DownNeedsANumberOfStepsAndADatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "talos.db")
	if _, err := MigrateDown(t.Context(), path, 1); core.ReasonOf(err) != core.FailedPrecondition {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it made a file")
	}
	if _, err := MigrateUp(t.Context(), path, 0); err != nil {
		t.Fatal(err)
	}
	for _, steps := range []int{0, -1} {
		if _, err := MigrateDown(t.Context(), path, steps); core.ReasonOf(err) != core.BadRequest {
			t.Error(err)
		}
	}
}

func TestSchema_AMigrationThatIsCutShortLeavesTheOldOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "talos.db")
	if _, err := MigrateUp(t.Context(), path, 1); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if _, err := migrateTo(t.Context(), path, func(m *schema.Migrations) (schema.Schema, error) {
		s, err := m.Up(t.Context(), 1)
		return s, errors.Join(broken, err)
	}); !errors.Is(err, broken) {
		t.Error(err)
	}
	if s, err := ReadSchema(t.Context(), path); err != nil || s.Version != 1 {
		t.Error(s, err)
	}
}

func TestSchema_TheKeysThatAreThereAreCountedWithoutAPrefix(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "talos.db")
	_, err := MigrateUp(t.Context(), path, 2)
	must(t, err)
	for id, kindAndStatus := range map[string]string{"a": "1, 1", "b": "1, 1", "revoked": "1, 2", "imported": "2, 1"} {
		outside(t, path, `INSERT INTO keys (network, key_id, kind, status, name, actor_id, scopes, metadata, `+
			`visibility, allowed_cidrs, request_id, revocation_reason, revocation_description, create_time, `+
			`update_time) VALUES (zeroblob(16), '`+id+`', `+kindAndStatus+`, '', '', '', '', 1, '', '', 0, '', 0, 0)`)
	}
	s := openAt(t, path, Options{})
	want := func(n int64) {
		t.Helper()
		got, err := s.Prefixes(t.Context(), core.NetworkID{})
		if err != nil || !slices.Equal(got, []core.PrefixCount{{Prefix: "", Keys: n}}) {
			t.Errorf("prefixes are %v (%v), want %d keys without one", got, err, n)
		}
	}
	want(2)
	_, err = s.Revoke(t.Context(), core.NetworkID{}, core.Issued, "a", core.Revocation{Time: testTime})
	must(t, err)
	want(1)
}

// Databases of earlier builds have events that name no caller, but for holders.
func TestEventsOfAnEarlierSchemaSayWhatIsKnownOfThem(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	s := openAt(t, path, Options{})
	const issued, imported = "550e8400-e29b-41d4-a716-446655440001", "0123456789abcdef0123456789abcdef0123456789abcdef"
	create(t, s, issued)
	k := testKey(imported)
	k.Kind = core.Imported
	if _, _, err := s.Create(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	holder := core.WithCaller(t.Context(), feed.Caller{Kind: feed.CallerHolder, ID: "192.0.2.7"})
	_, err := s.Revoke(holder, core.NetworkID{}, core.AnyKind, issued, core.Revocation{Time: testTime})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	downTo(t, path, 3)
	page, err := openAt(t, path, Options{}).Events(t.Context(), 0, 10)
	if err != nil || len(page.Events) != 3 || page.FeedID == "" {
		t.Fatalf("got %+v, %v", page, err)
	}
	for i, want := range []feed.Event{
		{KeyID: issued, KeyKind: uint8(core.Issued), Kind: feed.EventCreated},
		{KeyID: imported, KeyKind: uint8(core.Imported), Kind: feed.EventCreated},
		{
			KeyID: issued, KeyKind: uint8(core.Issued), Kind: feed.EventRevoked,
			Caller: feed.Caller{Kind: feed.CallerHolder},
		},
	} {
		e := page.Events[i]
		want.Position, want.ActorID, want.Time = uint64(i)+1, k.ActorID, e.Time
		if e != want {
			t.Errorf("got %+v, want %+v", e, want)
		}
	}
}
