package command

import (
	"fmt"
	"net"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/talos-edge/talos-edge/caddymodule/internal/talostest"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

func TestMain(m *testing.M) {
	code := talostest.Main(pgtest.Main{M: m})
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func binary(t *testing.T) string {
	t.Helper()
	return talostest.Binary(t)
}

// nobody is the URL of a server that is not there. A port that a test had and closed would be another's soon.
const nobody = "http://127.0.0.1:1"

// listener holds a free port.
type listener struct {
	net.Listener

	port uint16
}

func listen(t *testing.T) *listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	address, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("not a TCP listener: %v", ln.Addr())
	}
	return &listener{ln, uint16(address.Port)}
}

func (l *listener) close() { _ = l.Close() }
