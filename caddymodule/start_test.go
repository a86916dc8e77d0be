package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/storage"
)

// files are the names and sizes of all files in a folder but logs and Caddy's own.
func files(t *testing.T, folder string) map[string]int64 {
	t.Helper()
	found := make(map[string]int64)
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if !strings.HasSuffix(name, ".log") && filepath.Base(name) != "last_clean.json" &&
			filepath.Base(name) != "instance.uuid" {
			found[name] = info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// refuses loads a configuration that must be refused with an error that holds all of some texts, and leave every file
// as it was.
func (s *solo) refuses(talos string, want ...string) {
	s.t.Helper()
	before := files(s.t, s.folder)
	err := s.load(talos, onlyAdmin)
	if err == nil {
		s.t.Fatalf("%s\nwas loaded", talos)
	}
	for _, text := range want {
		text = strings.ReplaceAll(text, "FOLDER", s.folder)
		if !strings.Contains(err.Error(), text) {
			s.t.Errorf("the error lacks %q: %v", text, err)
		}
	}
	if strings.Contains(err.Error(), strings.Repeat("b", 40)) {
		s.t.Errorf("the error holds the secret: %v", err)
	}
	if after := files(s.t, s.folder); !maps.Equal(after, before) {
		s.t.Errorf("it left %v, and before there were %v", after, before)
	}
	if open := uses(); open != nil {
		s.t.Errorf("it left %v open", open)
	}
}

func TestAWrongSecretNamesTheDatabaseAndItsOwnOriginAndChangesNothing(t *testing.T) {
	s := newSolo(t)
	first, second := strings.Repeat("a", 40), strings.Repeat("b", 40)
	s.mustLoad("talos {\nstorage sqlite://FOLDER/talos.db\nhmac_secret "+first+"\n}", onlyAdmin)
	s.stop()
	// An older schema: a start with the right secret would migrate it.
	dsn := "sqlite://" + filepath.ToSlash(filepath.Join(s.folder, "talos.db"))
	older, err := storage.MigrateDown(t.Context(), dsn, 1)
	if err != nil {
		t.Fatal(err)
	}

	t.Setenv("TALOS_TEST_SECRET", second)
	if err := os.WriteFile(filepath.Join(s.folder, "secret"), []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	for secret, from := range map[string]string{
		second:                    "from the option hmac_secret",
		"{env.TALOS_TEST_SECRET}": "from the environment variable TALOS_TEST_SECRET",
		"{file.FOLDER/secret}":    "from the file FOLDER/secret",
	} {
		s.refuses("talos {\nstorage sqlite://FOLDER/talos.db\nhmac_secret "+secret+"\n}",
			"the keys in FOLDER/talos.db were made with", from, "hmac_secret <current> <earlier>",
			"TALOS_SECRETS_HMAC_RETIRED")
	}
	// The generated secret of another node.
	s.mustLoad("talos {\nstorage sqlite://FOLDER/other.db\n}", onlyAdmin)
	s.stop()
	s.refuses("talos {\nstorage sqlite://FOLDER/talos.db\n}", "from FOLDER/caddy/talos/hmac_secret")

	if now, err := storage.ReadSchema(t.Context(), dsn); err != nil || now.Version != older.Version {
		t.Errorf("the schema was migrated to %d (%v)", now.Version, err)
	}
}

// The database may lie elsewhere than Caddy's storage, which may be moved or deleted.
func TestAMissingSecretOfAUsedDatabaseIsNotGeneratedAnew(t *testing.T) {
	s := newSolo(t)
	const talos = "talos {\nstorage sqlite://FOLDER/elsewhere/talos.db\n}"
	s.mustLoad(talos, onlyAdmin)
	id, secret := s.issue()
	s.stop()
	if err := os.Rename(filepath.Join(s.folder, "caddy"), filepath.Join(s.folder, "moved")); err != nil {
		t.Fatal(err)
	}
	s.refuses(talos, "the keys in FOLDER/elsewhere/talos.db were made with an HMAC secret",
		"FOLDER/caddy/talos/hmac_secret does not exist", "TALOS_SECRETS_HMAC_CURRENT")

	if err := os.RemoveAll(filepath.Join(s.folder, "caddy")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(s.folder, "moved"), filepath.Join(s.folder, "caddy")); err != nil {
		t.Fatal(err)
	}
	s.mustLoad(talos, onlyAdmin)
	if got := s.gated(secret); got.status != http.StatusOK || got.body != id {
		t.Errorf("with the secret back: %d %s", got.status, got.body)
	}
}

// A secret whose database was deleted stays, and serves with a new, empty one.
func TestADeletedDatabaseIsMadeAnewWithTheSameSecret(t *testing.T) {
	s := newSolo(t)
	const talos = "talos {\nstorage sqlite://FOLDER/deep/down/talos.db\n}"
	s.mustLoad(talos, onlyAdmin)
	_, secret := s.issue()
	s.stop()
	file := filepath.Join(s.folder, "caddy", "talos", "hmac_secret")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.folder, "deep")); err != nil {
		t.Fatal(err)
	}
	s.mustLoad(talos, onlyAdmin)
	if got := s.gated(secret); got.status != http.StatusUnauthorized {
		t.Errorf("a key of the deleted database: %d", got.status)
	}
	if id, secret := s.issue(); s.gated(secret).body != id {
		t.Error("a new key is not admitted")
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Errorf("the secret was replaced (%v)", err)
	}
}

// entries are the lines of a log with a message.
func entries(t *testing.T, file, message string) (found []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if text, _ := entry["msg"].(string); strings.Contains(text, message) {
			found = append(found, entry)
		}
	}
	return found
}

// loadWithLog loads a configuration that logs to a file, which it returns.
func (s *solo) loadWithLog(name, talos, sites string) (file string) {
	s.t.Helper()
	file = filepath.Join(s.folder, name+".log")
	s.mustLoad("log default {\noutput file "+filepath.ToSlash(file)+"\n}\n"+talos, sites)
	return file
}

func TestKeysWhosePrefixIsNotConfiguredAreNamedAtTheStart(t *testing.T) {
	s := newSolo(t)
	const (
		talos   = "talos {\nstorage sqlite://FOLDER/talos.db\n%s\n}"
		message = "prefixes that are not configured"
	)
	log := s.loadWithLog("first", fmt.Sprintf(talos, "key_prefix acme"), onlyAdmin)
	id, secret := s.issue()
	s.issue()
	if got := entries(t, log, message); got != nil {
		t.Errorf("a database with configured prefixes: %v", got)
	}

	log = s.loadWithLog("second", fmt.Sprintf(talos, "key_prefix beta older"), onlyAdmin)
	got := entries(t, log, message)
	if len(got) != 1 {
		t.Fatalf("%d warnings", len(got))
	}
	for field, want := range map[string]any{
		"level": "warn", "database": filepath.Join(s.folder, "talos.db"), "caddyfile": "key_prefix beta older acme",
		"environment_of_serve": "TALOS_CREDENTIALS_API_KEYS_PREFIX_RETIRED=older,acme",
	} {
		if got[0][field] != want {
			t.Errorf("%s is %v, want %v", field, got[0][field], want)
		}
	}
	if counts, ok := got[0]["keys_by_prefix"].(map[string]any); !ok || counts["acme"] != 2.0 || len(counts) != 1 {
		t.Errorf("keys by prefix: %v", got[0]["keys_by_prefix"])
	}
	if got := s.gated(secret); got.status != http.StatusUnauthorized {
		t.Errorf("a key of an unknown prefix: %d", got.status)
	}

	// What the warning says is the remedy.
	log = s.loadWithLog("third", fmt.Sprintf(talos, got[0]["caddyfile"]), onlyAdmin)
	if got := entries(t, log, message); got != nil {
		t.Errorf("with the remedy: %v", got)
	}
	if got := s.gated(secret); got.body != id {
		t.Errorf("with the prefix retired: %d", got.status)
	}
}

func TestEachStartLogsInOneLineWhatIsServedAndFromWhere(t *testing.T) {
	s := newSolo(t)
	socket := filepath.Join(s.folder, "s")
	sites := onlyAdmin + "\nhttp://:" + portOf(freeport.Addr(t)) + " {\nrespond 204\n}\n" +
		"http:// {\nbind unix/" + socket + "\ntalos_gate\n}"
	ready := func(log string) map[string]any {
		t.Helper()
		found := entries(t, log, "ready")
		if len(found) != 1 || found[0]["logger"] != "talos" || found[0]["level"] != "info" {
			t.Fatalf("got %v", found)
		}
		return found[0]
	}
	line := ready(s.loadWithLog("embedded", "talos {\nstorage sqlite://FOLDER/talos.db\n}", sites))
	serving, _ := line["serving"].([]any)
	for _, want := range []any{"http://" + s.addr, "unix/" + socket} {
		if !slices.Contains(serving, want) || len(serving) != 2 {
			t.Errorf("serving %v, want %v", serving, want)
		}
	}
	for field, want := range map[string]any{
		"mode": "embedded", "database": filepath.Join(s.folder, "talos.db"), "key_prefix": "ory_ak",
		"reachable_from_other_machines": nil,
	} {
		if line[field] != want {
			t.Errorf("%s is %v, want %v", field, line[field], want)
		}
	}
	if version, _ := line["version"].(string); version == "" {
		t.Error("it does not say the version")
	}

	open := freeport.Addr(t)
	line = ready(s.loadWithLog("sidecar", "talos {\nupstream http://127.0.0.1:1 http://127.0.0.1:2\nkey_prefix acme\n}",
		"http://:"+portOf(open)+" {\ntalos_gate\n}"))
	if got := fmt.Sprint(line["mode"], line["upstream"], line["key_prefix"], line["serving"],
		line["reachable_from_other_machines"]); got != "sidecar[http://127.0.0.1:1 http://127.0.0.1:2]acme[http://:"+
		portOf(open)+"] [:"+portOf(open)+"]" {
		t.Error(got)
	}
}
