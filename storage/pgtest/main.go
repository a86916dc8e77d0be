package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// Main runs the tests of a package, and removes afterwards what they have shared. The TestMain of a package that starts
// servers has to use it:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }
type Main struct{ *testing.M }

// Run returns the exit status.
func (m Main) Run() int {
	afterTests.mu.Lock()
	afterTests.main = true
	afterTests.mu.Unlock()
	status := m.M.Run()
	var err error
	for _, do := range slices.Backward(afterTests.do) {
		err = errors.Join(err, do())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// afterTests has what Main does after the tests.
var afterTests struct {
	mu   sync.Mutex
	main bool // it will do so
	do   []func() error
}

// afterwards adds what Main does after the tests.
func afterwards(do func() error) error {
	afterTests.mu.Lock()
	defer afterTests.mu.Unlock()
	if !afterTests.main {
		return errors.New("TestMain does not use pgtest.Main")
	}
	afterTests.do = append(afterTests.do, do)
	return nil
}

// emptyCluster is the folder of a cluster without data. Copies of it start several times faster than initdb.
var emptyCluster = sync.OnceValues(func() (string, error) {
	ctx, cancel := bounded(context.Background())
	defer cancel()
	folder, err := newFolder()
	if err != nil {
		return "", err
	}
	if err := afterwards(func() error { return os.RemoveAll(folder) }); err != nil {
		return "", errors.Join(err, os.RemoveAll(folder))
	}
	cluster := filepath.Join(folder, "data")
	return cluster, run(ctx, folder, binary("initdb"), "--pgdata", cluster, "--username", superuser, "--auth", "trust",
		"--no-sync", "--encoding", "UTF8", "--locale-provider", "icu", "--icu-locale", "en-US")
})

// sharedServer is the server of [Shared].
var sharedServer = sync.OnceValues(func() (*Server, error) {
	ctx, cancel := bounded(context.Background())
	defer cancel()
	s, err := startServer(ctx, Options{Settings: []string{
		"fsync = off", "full_page_writes = off", "max_connections = 300",
	}})
	if err != nil {
		return nil, err
	}
	return s, afterwards(func() error {
		ctx, cancel := bounded(context.Background())
		defer cancel()
		return s.end(ctx)
	})
})
