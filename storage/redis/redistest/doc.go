// Package redistest runs redis-server for tests: alone, with TLS, behind sentinels, or as a cluster. TALOS_TEST_REDIS is
// the path of the program; without it a test is skipped.
package redistest
