package freeport

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// The ports lie below those that operating systems give to outgoing connections (32768 and up on Linux, 49152 and up
// elsewhere): one of these could be taken between Addr and the start of the server.
const (
	first = 10_000
	count = 22_000
)

var (
	mu    sync.Mutex
	given = make(map[int]bool)
)

// Port is the port of an Addr.
func Port(tb testing.TB) string {
	tb.Helper()
	_, port, err := net.SplitHostPort(Addr(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return port
}

// Addr is an address on the loopback interface that nothing listens on and that this process was not given before.
func Addr(tb testing.TB) string {
	tb.Helper()
	mu.Lock()
	defer mu.Unlock()
	for range 1000 {
		port := first + rand.IntN(count) //nolint:gosec // not a secret
		if given[port] {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		var config net.ListenConfig
		l, err := config.Listen(context.Background(), "tcp", addr)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			tb.Fatal(err)
		}
		given[port] = true
		return addr
	}
	tb.Fatal("no free port was found")
	return ""
}
