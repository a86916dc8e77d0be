package command

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "talos-command-")
	if err != nil {
		panic(err)
	}
	buildDir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// build builds the binary, once for all tests, as the image has it: static.
var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "talos")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-o", path, "../talos")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the binary: %w\n%s", err, out)
	}
	return path, nil
})

func binary(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

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
