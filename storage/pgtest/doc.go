// Package pgtest runs PostgreSQL for tests: servers of their own on free loopback ports, with standbys, crashes,
// failovers, TLS and PgBouncer.
//
// # Environment
//
//	TALOS_TEST_POSTGRES   folder with initdb, postgres and pg_basebackup, of PostgreSQL 15 or later
//	TALOS_TEST_PGBOUNCER  path of pgbouncer
//
// Without its variable a test is skipped. PostgreSQL and PgBouncer do not run as root: in a test that does, they run as
// the user postgres. Their files are in folders beneath [os.TempDir], which that user must be able to reach, and whose
// path must be short enough for a Unix socket.
//
// # Bounds
//
// A function that waits does so for at most two minutes, and fails the test then. Servers stop at the end of the test
// that started them, and their folders are removed. On Linux they also stop when the test binary dies; their folders
// stay then, as those of [testing.TB.TempDir] do.
//
// # Clusters
//
// A cluster sorts text by the rules of a language, not by bytes, as most clusters do: a statement that relies on the
// order of bytes has to say so. All settings are PostgreSQL's defaults, durability included, if a test gives no others.
// The superuser is postgres; the helper's own connections go through a Unix socket and need no password.
package pgtest
