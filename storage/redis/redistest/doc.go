// Package redistest runs redis-server for tests: one server, one with a replica and a sentinel, or a cluster.
// TALOS_TEST_REDIS is the path of the program; without it a test is skipped.
package redistest
