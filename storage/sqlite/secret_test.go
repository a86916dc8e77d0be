package sqlite

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
)

func wantCheck(t *testing.T, path string, network core.NetworkID, want string) {
	t.Helper()
	if got, err := ReadSecretCheck(t.Context(), path, network, Options{}); err != nil || got != want {
		t.Errorf("the check value is %q (%v), want %q", got, err, want)
	}
}

func TestSecretCheck_IsReadWithoutCreatingOrMigratingAnything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "missing", "talos.db")
	wantCheck(t, path, core.NetworkID{}, "")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("it made %v (%v)", entries, err)
	}

	path = filepath.Join(dir, "talos.db")
	must(t, createFile(path))
	wantCheck(t, path, core.NetworkID{}, "")
	_, err := MigrateUp(t.Context(), path, 1)
	must(t, err)
	wantCheck(t, path, core.NetworkID{}, "")
	db, err := outsidePool(uri(path, busyTimeout))
	must(t, err)
	_, err = db.ExecContext(t.Context(), "INSERT INTO secrets VALUES (zeroblob(16), 'a check value')")
	must(t, err)
	must(t, db.Close())
	wantCheck(t, path, core.NetworkID{}, "a check value")
	if s, err := ReadSchema(t.Context(), path); err != nil || s.Version != 1 {
		t.Errorf("the schema has version %d (%v), want 1", s.Version, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("beside the database there are %v (%v)", entries, err)
	}
}

func TestSecretCheck_IsThatOfTheNetworkAndHarmsNoOpenStore(t *testing.T) {
	t.Parallel()
	path := newDatabase(t).path
	s := openAt(t, path, Options{})
	must(t, s.ClaimSecret(t.Context(), core.NetworkID{}, []string{"first"}))
	wantCheck(t, path, core.NetworkID{}, "first")
	wantCheck(t, path, uuid.New(), "")
	create(t, s, "a")
	must(t, s.ClaimSecret(t.Context(), core.NetworkID{}, []string{"second", "first"}))
	wantCheck(t, path, core.NetworkID{}, "second")
	must(t, s.Ping(t.Context()))
}

func TestSecretCheck_OfAFileThatIsNoDatabaseIsUnavailable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "talos.db")
	must(t, os.WriteFile(path, []byte("this is no database, whatever its name says"), 0o600))
	_, err := ReadSecretCheck(t.Context(), path, core.NetworkID{}, Options{})
	wantReason(t, err, core.Unavailable)
}
