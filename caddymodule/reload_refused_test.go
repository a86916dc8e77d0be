package caddymodule_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/caddymodule/internal/pool"
	"github.com/talos-edge/talos-edge/storage"
)

// traffic is constant load on a gated path, over connections that are kept and over new ones. Nothing is tried again:
// whatever is not answered with 200 is a failure.
type traffic struct {
	t              *testing.T
	served, failed atomic.Int64
	progress       []chan struct{} // of each client, after each request
	end            func()
}

// startTraffic loads the site with the key until the test or the traffic ends.
func (s *solo) startTraffic(id, secret string) *traffic {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	tr := &traffic{t: s.t}
	var wg sync.WaitGroup
	for i := range 6 {
		progress := make(chan struct{})
		tr.progress = append(tr.progress, progress)
		c := newPlainClient(s.t)
		c.Transport.(*http.Transport).DisableKeepAlives = i%2 == 0 //nolint:errcheck,forcetypeassert // it is one
		wg.Go(func() {
			defer c.CloseIdleConnections()
			for ctx.Err() == nil {
				status, body, err := getGated(c, s.addr, secret)
				tr.served.Add(1)
				if (err != nil || status != http.StatusOK || body != id) && tr.failed.Add(1) <= 5 {
					s.t.Errorf("a request failed: %d %q %v", status, body, err)
				}
				select {
				case progress <- struct{}{}:
				default: // nobody waits for it
				}
			}
		})
	}
	tr.end = sync.OnceFunc(func() { cancel(); wg.Wait() })
	s.t.Cleanup(tr.end)
	return tr
}

// flows waits until each client has had n more answers.
func (tr *traffic) flows(n int) {
	for _, progress := range tr.progress {
		for range n {
			<-progress
		}
	}
}

// lockDatabase makes a database and holds its write lock, as another process would, until the returned function is
// called or the test ends.
func lockDatabase(t *testing.T, path string) (unlock func()) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		makeDatabase(t, path)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	unlock = sync.OnceFunc(func() {
		if err := db.Close(); err != nil { // rolls back
			t.Error(err)
		}
	})
	t.Cleanup(unlock)
	return unlock
}

func makeDatabase(t *testing.T, path string) {
	t.Helper()
	store, err := storage.Open(t.Context(), "sqlite://"+filepath.ToSlash(path), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// execute runs statements on a database.
func execute(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

// loadImpatiently loads a configuration with a short deadline for opening its node. Tests that call it do not run in
// parallel with others.
func (s *solo) loadImpatiently(talos string) error {
	before := pool.OpenTimeout
	defer func() { pool.OpenTimeout = before }()
	pool.OpenTimeout = 300 * time.Millisecond
	return s.load(talos, onlyAdmin)
}

// newerSchema makes a database one of a build that is newer than this one.
const newerSchema = "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1); " +
	"UPDATE compatibility SET oldest = 999"

// tooSlow is the error of a node that did not open in time.
const tooSlow = "the node did not open within"

// refusals are configurations whose node cannot be opened, and what the error says. FOLDER has what prepareRefusals
// makes.
var refusals = []struct{ talos, want string }{
	{"storage sqlite://FOLDER/locked.db\nhmac_secret SECRET", tooSlow},
	{"storage sqlite://FOLDER/a.db\nhmac_secret ANOTHER", "HMAC secrets are not those"},
	{"storage sqlite://FOLDER/directory\nhmac_secret SECRET", "opening the storage"},
	{"storage sqlite://FOLDER/newer.db\nhmac_secret SECRET", "run the newer build"},
	{"upstream https://127.0.0.1:1 {\ntls_ca FOLDER/missing.pem\n}", "tls_ca"},
}

func refusal(i int) (talos, want string) {
	r := refusals[i%len(refusals)]
	replace := strings.NewReplacer("SECRET", strings.Repeat("s", 40), "ANOTHER", strings.Repeat("t", 40))
	return "talos {\n" + replace.Replace(r.talos) + "\n}", r.want
}

func (s *solo) prepareRefusals() (unlock func()) {
	s.t.Helper()
	newer := filepath.Join(s.folder, "newer.db")
	makeDatabase(s.t, newer)
	execute(s.t, newer, newerSchema)
	if err := os.Mkdir(filepath.Join(s.folder, "directory"), 0o700); err != nil {
		s.t.Fatal(err)
	}
	return lockDatabase(s.t, filepath.Join(s.folder, "locked.db"))
}

// TestAttack24_RefusedReloadsCostNoRequest reloads configurations whose node cannot be opened, under load: each is
// refused with its reason, and nobody notices.
func TestAttack24_RefusedReloadsCostNoRequest(t *testing.T) {
	s := newSolo(t)
	unlock := s.prepareRefusals()
	s.mustLoad(stormConfig(0), onlyAdmin)
	id, secret := s.issue()
	running := runningNode(s.t)
	tr := s.startTraffic(id, secret)
	tr.flows(1)
	count := 2 * reloads()
	if count > 1000 {
		count = 1000
	}
	for i := range count {
		talos, want := refusal(i)
		load := func(talos string) error { return s.load(talos, onlyAdmin) }
		if want == tooSlow {
			load = s.loadImpatiently
		}
		if err := load(talos); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("reload %d: got %v, expected an error with %q", i, err, want)
		}
		tr.flows(2)
	}
	tr.end()
	t.Logf("%d requests during %d refused reloads: %d failed", tr.served.Load(), count, tr.failed.Load())
	if n := tr.failed.Load(); n != 0 {
		t.Errorf("%d of %d requests failed", n, tr.served.Load())
	}
	if runningNode(s.t) != running {
		t.Error("a refused reload replaced the node")
	}
	unlock() // ends openings that nobody waits for any more
	if open := s.open(2); len(open) != 2 {
		t.Errorf("open: %v", open)
	}
}

// open waits until so many nodes and stores are open, and returns those that are.
func (s *solo) open(want int) (open []string) {
	s.t.Helper()
	until(s.t, fmt.Sprintf("%d nodes and stores are open", want), func() bool {
		open = uses()
		return len(open) == want
	})
	return open
}

// TestAttack24_ASlowOpeningDelaysNothingButTheReload loads a configuration whose database is locked for a while.
func TestAttack24_ASlowOpeningDelaysNothingButTheReload(t *testing.T) {
	s := newSolo(t)
	unlock := lockDatabase(t, filepath.Join(s.folder, "slow.db"))
	s.mustLoad(stormConfig(0), onlyAdmin)
	id, secret := s.issue()
	tr := s.startTraffic(id, secret)
	reloaded := make(chan error, 1)
	slow := strings.ReplaceAll(stormConfig(0), "a.db", "slow.db")
	go func() { reloaded <- s.load(slow, onlyAdmin) }()
	s.waitForOpening("slow.db")
	tr.flows(20) // new connections too
	tr.end()
	select {
	case err := <-reloaded:
		t.Fatalf("the reload did not wait for its database: %v", err)
	default:
	}
	if n := tr.failed.Load(); n != 0 {
		t.Errorf("%d of %d requests failed", n, tr.served.Load())
	}
	unlock()
	if err := <-reloaded; err != nil {
		t.Fatal(err)
	}
	if got := s.gated(secret); got.status != http.StatusUnauthorized { // a key of the other database
		t.Errorf("the new configuration answers %d", got.status)
	}
}

// waitForOpening waits until a node is being opened on a database in the folder.
func (s *solo) waitForOpening(file string) {
	s.t.Helper()
	dsn, err := storage.Canonical("sqlite://" + filepath.ToSlash(filepath.Join(s.folder, file)))
	if err != nil {
		s.t.Fatal(err)
	}
	until(s.t, "the database is being opened", func() bool {
		_, found := pool.Stores.References(dsn)
		return found
	})
}

// TestNoListenerStartsBeforeTheNodeIsOpen starts Caddy on a database that is locked for a while.
func TestNoListenerStartsBeforeTheNodeIsOpen(t *testing.T) {
	s := newSolo(t)
	for range 8 { // Caddy starts apps in any order
		unlock := lockDatabase(t, filepath.Join(s.folder, "a.db"))
		started := make(chan error, 1)
		go func() { started <- s.load(stormConfig(0), onlyAdmin) }()
		s.waitForOpening("a.db")
		listening := false
		for range 500 {
			var dialer net.Dialer
			if conn, err := dialer.DialContext(t.Context(), "tcp", s.addr); err == nil {
				listening = true
				_ = conn.Close()
			}
		}
		unlock()
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		if listening {
			t.Fatal("the listener took a connection before the node was open")
		}
		s.issue()
		s.stop()
	}
}

// TestAStartGivesUpOnALockedDatabase starts Caddy on a database that stays locked.
func TestAStartGivesUpOnALockedDatabase(t *testing.T) {
	s := newSolo(t)
	unlock := lockDatabase(t, filepath.Join(s.folder, "a.db"))
	logs := filepath.Join(s.folder, "log.json")
	err := s.loadImpatiently("log talos {\noutput file " + filepath.ToSlash(logs) + "\n}\n" + stormConfig(0))
	if err == nil || !strings.Contains(err.Error(), tooSlow+" 300ms") {
		t.Errorf("got %v", err)
	}
	if got, err := os.ReadFile(logs); err != nil || !strings.Contains(string(got), "still opening the node") {
		t.Errorf("the log says nothing of the wait: %s (%v)", got, err)
	}
	unlock()
	s.open(0)
	s.mustLoad(stormConfig(0), onlyAdmin)
}

// TestAReloadOfTheSameNodeOpensNothing reloads while another process holds the database that is in use.
func TestAReloadOfTheSameNodeOpensNothing(t *testing.T) {
	s := newSolo(t)
	s.mustLoad(stormConfig(0), onlyAdmin)
	id, secret := s.issue()
	lockDatabase(t, filepath.Join(s.folder, "a.db"))
	running := runningNode(s.t)
	if err := s.loadImpatiently(stormConfig(0)); err != nil {
		t.Error(err)
	}
	if runningNode(s.t) != running {
		t.Error("the node was opened again")
	}
	if got := s.gated(secret); got.status != http.StatusOK || got.body != id {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

// TestAMigrationThatTakesTooLongIsRefused reloads to a database of an earlier schema, whose
// migration never ends.
func TestAMigrationThatTakesTooLongIsRefused(t *testing.T) {
	s := newSolo(t)
	path := filepath.Join(s.folder, "old.db")
	dsn := "sqlite://" + filepath.ToSlash(path)
	makeDatabase(t, path)
	before, err := storage.MigrateDown(t.Context(), dsn, 1)
	if err != nil {
		t.Fatal(err)
	}
	rows := "INSERT INTO long WITH RECURSIVE n(x) AS " +
		"(SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 9999) SELECT x FROM n"
	execute(t, path, "CREATE TABLE long (x)", rows, "CREATE TRIGGER endless BEFORE INSERT ON goose_db_version BEGIN "+
		"SELECT COUNT(*) FROM long a, long b, long c WHERE a.x + b.x + c.x < 0; END")
	s.mustLoad(stormConfig(0), onlyAdmin)
	id, secret := s.issue()
	tr := s.startTraffic(id, secret)
	old := strings.ReplaceAll(stormConfig(0), "a.db", "old.db")
	if err := s.loadImpatiently(old); err == nil || !strings.Contains(err.Error(), tooSlow) {
		t.Errorf("got %v", err)
	}
	tr.flows(1)
	tr.end()
	if n := tr.failed.Load(); n != 0 {
		t.Errorf("%d of %d requests failed", n, tr.served.Load())
	}
	s.open(2) // the migration was cut off
	if after, err := storage.ReadSchema(t.Context(), dsn); err != nil || after.Version != before.Version {
		t.Errorf("the schema has version %d (%v), want %d", after.Version, err, before.Version)
	}
	execute(t, path, "DROP TRIGGER endless")
	s.mustLoad(old, onlyAdmin)
	if after, err := storage.ReadSchema(t.Context(), dsn); err != nil || after.Version != after.Newest {
		t.Errorf("the schema has version %d (%v), want %d", after.Version, err, after.Newest)
	}
	s.issue()
}

// TestValidationOpensNothing checks configurations whose node cannot be opened, or would be a new one, in a process
// that runs another.
func TestValidationOpensNothing(t *testing.T) {
	s := newSolo(t)
	s.prepareRefusals()
	s.mustLoad(stormConfig(0), onlyAdmin)
	configs := []string{"talos {\nstorage sqlite://FOLDER/deep/talos.db\n}"}
	for i := range refusals {
		talos, _ := refusal(i)
		configs = append(configs, talos)
	}
	for _, talos := range configs {
		decode := func() (cfg *caddy.Config) {
			if err := json.Unmarshal(adapt(t, s.text(talos, onlyAdmin)), &cfg); err != nil {
				t.Fatal(err)
			}
			return cfg
		}
		if err := caddy.Validate(decode()); err != nil {
			t.Errorf("%s: %v", talos, err)
		}
		if _, err := caddy.ProvisionContext(decode()); err != nil {
			t.Errorf("%s: %v", talos, err)
		}
		if open := uses(); len(open) != 2 {
			t.Errorf("%s: open: %v", talos, open)
		}
	}
	if _, err := os.Stat(filepath.Join(s.folder, "deep")); err == nil {
		t.Error("validation created a database")
	}
}
