package pgtest_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/storage/pgtest"
)

func TestStart_IsADefaultServerWithTheSettingsOfTheTest(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t, "work_mem = 7MB", "application_name = 'of the test'")
	for query, want := range map[string]string{
		"SHOW work_mem":           "7MB",
		"SHOW application_name":   "of the test",
		"SHOW fsync":              "on",
		"SHOW synchronous_commit": "on",
		"SHOW listen_addresses":   "127.0.0.1",
		"SELECT 'a' < 'B'":        "t", // not by bytes
	} {
		wantText(t, s, query, want)
	}
	if got := number(t, connect(t, s.DSN("postgres")), "SELECT 42"); got != 42 {
		t.Errorf("the server answers %d through its port, want 42", got)
	}
}

//nolint:tparallel // the test looks at what its part has left
func TestDatabase_IsEmptyAndDroppedAtTheEndWithItsConnections(t *testing.T) {
	t.Parallel()
	s := pgtest.Shared(t)
	dsn := pgtest.Database(t)
	execute(t, connect(t, dsn), "CREATE TABLE things ()")
	var inner string
	t.Run("another database", func(part *testing.T) {
		inner = pgtest.Name(part, pgtest.Database(part))
		conn := connect(t, s.DSN(inner)) // stays open
		if n := number(t, conn, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"); n != 0 {
			t.Errorf("a new database has %d tables", n)
		}
	})
	wantText(t, s, "SELECT count(*) FROM pg_database WHERE datname = '"+inner+"'", "0")
	wantText(t, s, "SELECT count(*) FROM pg_database WHERE datname = '"+pgtest.Name(t, dsn)+"'", "1")
	if s != pgtest.Shared(t) {
		t.Error("a second call of Shared starts another server")
	}
}

func TestPassword_IsAskedFor(t *testing.T) {
	t.Parallel()
	s := pgtest.StartWith(t, pgtest.Options{Password: "a+b/c d", Settings: []string{"fsync = off"}})
	connect(t, s.DSN("postgres"))
	u, err := url.Parse(s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("postgres", "a+b/c")
	refused(t, "a wrong password", u.String())
	u.User = url.User("postgres")
	refused(t, "no password", u.String())
}

func TestTLS_IsVerifiedOnBothSides(t *testing.T) {
	t.Parallel()
	options := pgtest.Options{TLS: true, ClientCertificates: true, Settings: []string{"fsync = off"}}
	s, other := pgtest.StartWith(t, options), pgtest.StartWith(t, options)
	conn := connect(t, s.DSN("postgres"))
	if n := number(t, conn, "SELECT count(*) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl"); n != 1 {
		t.Error("the connection is not encrypted")
	}
	with := func(set ...string) string {
		u, err := url.Parse(s.DSN("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		for i := 0; i < len(set); i += 2 {
			if q.Set(set[i], set[i+1]); set[i+1] == "" {
				q.Del(set[i])
			}
		}
		u.RawQuery = q.Encode()
		return u.String()
	}
	theirs, err := url.Parse(other.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	foreign := theirs.Query()
	certificate, key := s.ClientCertificate(t, "talos")
	refused(t, "a client without TLS", with("sslmode", "disable"))
	refused(t, "a client without a certificate", with("sslcert", "", "sslkey", ""))
	refused(t, "a certificate for another user", with("sslcert", certificate, "sslkey", key))
	refused(t, "a certificate of another authority",
		with("sslcert", foreign.Get("sslcert"), "sslkey", foreign.Get("sslkey")))
	refused(t, "a server of another authority", with("sslrootcert", foreign.Get("sslrootcert")))
	s.Exec(t, "CREATE ROLE talos LOGIN")
	connect(t, strings.Replace(with("sslcert", certificate, "sslkey", key), "postgres@", "talos@", 1))
}

func TestPgBouncer_SharesConnectionsBetweenTransactions(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t, "fsync = off")
	name := pgtest.Name(t, s.Database(t))
	b := pgtest.PgBouncer(t, s, "transaction", "default_pool_size = 1")
	// Without prepared statements, which belong to a connection of the pool.
	dsn := b.DSN(name) + "&default_query_exec_mode=simple_protocol"
	first, second := connect(t, dsn), connect(t, dsn)
	backend := "SELECT pg_backend_pid()"
	if a, b := number(t, first, backend), number(t, second, backend); a != b {
		t.Errorf("two clients have the connections %d and %d of a pool of one", a, b)
	}
	if n := number(t, first, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"); n != 1 {
		t.Errorf("the pool has %d connections, want 1", n)
	}
}
