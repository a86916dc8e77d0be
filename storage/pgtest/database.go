package pgtest

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Shared is a server for all tests of a package. It is fast because it does not wait for the disk: fsync is off. Tests
// neither stop it nor change its settings. Shared skips the test without TALOS_TEST_POSTGRES.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	need(tb, binariesEnv)
	s, err := sharedServer()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Database makes an empty database on the server of [Shared] and returns its DSN. At the end of the test the database
// is dropped, even if there are connections.
func Database(tb testing.TB) string {
	tb.Helper()
	s := Shared(tb)
	dsn := s.Database(tb)
	tb.Cleanup(func() {
		s.Exec(tb, "DROP DATABASE "+pgx.Identifier{Name(tb, dsn)}.Sanitize()+" WITH (FORCE)")
	})
	return dsn
}

// Database makes an empty database and returns its DSN. It is removed with the server.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	s.Exec(tb, "CREATE DATABASE "+name+" STRATEGY file_copy") // several times faster than the default without fsync
	return s.DSN(name)
}

// Name is the database that a DSN names.
func Name(tb testing.TB, dsn string) string {
	tb.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	return config.Database
}
