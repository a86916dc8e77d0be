package upstream

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/zap/zaptest/observer"
)

var (
	networkA = uuid.MustParse("550e8400-e29b-41d4-a716-446655440001")
	networkB = uuid.MustParse("550e8400-e29b-41d4-a716-446655440002")
)

// bubble is a test on a clock of its own.
type bubble struct{ *testing.T }

// reaching opens a Remote whose upstream is a stand-in.
type reaching func(t *testing.T, s *standIn, change func(*Config)) (*Remote, *observer.ObservedLogs)

// overNetwork reaches the stand-in by TCP.
func overNetwork(t *testing.T, s *standIn, change func(*Config)) (*Remote, *observer.ObservedLogs) {
	t.Helper()
	return open(t, change, serve(t, s, "").URL)
}

// inMemory reaches the stand-in without a network, for a test on a clock of its own.
func inMemory(t *testing.T, s *standIn, change func(*Config)) (*Remote, *observer.ObservedLogs) {
	t.Helper()
	connect := serveInMemory(t, s)
	u, logs := open(t, change, "http://in-memory.localhost")
	for _, a := range u.pool.addresses {
		_, carrier := a.client.Target()
		carrier.(*http.Transport).DialContext = connect //nolint:errcheck,forcetypeassert // the client has made it
	}
	return u, logs
}

// serveInMemory serves without a network, for a test on a clock of its own, and returns what connects to the server.
func serveInMemory(t testing.TB, h http.Handler) func(ctx context.Context, network, address string) (net.Conn, error) {
	t.Helper()
	l := &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: h}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // it ends with the listener
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case l.conns <- theirs:
			return ours, nil
		case <-l.closed:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// memoryListener accepts the ends of pipes.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*memoryListener) Addr() net.Addr { return &net.UnixAddr{Name: "in memory", Net: "unix"} }
