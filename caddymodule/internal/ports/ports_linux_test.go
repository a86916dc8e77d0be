package ports_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/caddymodule/internal/ports"
)

// listenEnv makes the test binary another process, which listens on the named address until its input ends.
const listenEnv = "TALOS_TEST_LISTEN"

func TestMain(m *testing.M) {
	address := os.Getenv(listenEnv)
	if address == "" {
		os.Exit(m.Run())
	}
	l, err := listen(context.Background(), address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = l.Close()
}

// listen listens as Caddy does: others may share the port.
func listen(ctx context.Context, address string) (io.Closer, error) {
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		return nil, err
	}
	l, err := parsed.Listen(ctx, 0, net.ListenConfig{})
	if err != nil {
		return nil, err
	}
	closer, ok := l.(io.Closer)
	if !ok {
		return nil, fmt.Errorf("the listener is a %T", l)
	}
	return closer, nil
}

// another starts a process that listens on an address until the test ends, and returns its id.
func another(t *testing.T, address string) (pid int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), listenEnv+"="+address)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "listening\n" {
		t.Fatalf("the other process says %q (%v)", line, err)
	}
	return cmd.Process.Pid
}

// here listens in this process until the test ends.
func here(t *testing.T, address string) {
	t.Helper()
	l, err := listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
}

func TestAPortOfAnotherProcessIsRefusedByItsNumberAndProcess(t *testing.T) {
	address := freeport.Addr(t)
	_, port, _ := strings.Cut(address, ":")
	pid := another(t, address)
	for _, listen := range []string{
		address, "tcp/" + address, "tcp4/" + address, "localhost:" + port, ":" + port, "0.0.0.0:" + port,
	} {
		err := ports.Check(t.Context(), []string{"127.0.0.1:0", listen})
		if err == nil || !strings.Contains(err.Error(), ":"+port+" is in use by process "+strconv.Itoa(pid)) ||
			!strings.Contains(err.Error(), ports.ShareEnv) {
			t.Errorf("%s: %v", listen, err)
		}
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if err := ports.Check(t.Context(), []string{fmt.Sprintf("127.0.0.1:%d-%d", number-1, number+1)}); err == nil {
		t.Error("a range that holds the port passes")
	}
}

func TestAWildcardOfAnotherProcessIsRefused(t *testing.T) {
	address := freeport.Addr(t)
	_, port, _ := strings.Cut(address, ":")
	another(t, ":"+port)
	for _, listen := range []string{address, ":" + port} {
		if err := ports.Check(t.Context(), []string{listen}); err == nil {
			t.Errorf("%s passes", listen)
		}
	}
}

func TestAPortThatIsFreeOrThisProcessOwnPasses(t *testing.T) {
	free, own := freeport.Addr(t), freeport.Addr(t)
	_, port, _ := strings.Cut(own, ":")
	here(t, own)
	listen := []string{free, own, ":" + port, "0.0.0.0:" + port}
	for range 2 { // what was tried is free again
		if err := ports.Check(t.Context(), listen); err != nil {
			t.Error(err)
		}
	}
}

func TestOtherAddressesOfAPortPass(t *testing.T) {
	address := freeport.Addr(t)
	_, port, _ := strings.Cut(address, ":")
	another(t, "127.0.0.2:"+port)
	here(t, address)
	if err := ports.Check(t.Context(), []string{address, "127.0.0.3:" + port}); err != nil {
		t.Error(err)
	}
}

func TestTheHoldersOfAnAddressAreNotThoseOfOtherAddressesOfItsPort(t *testing.T) {
	address := freeport.Addr(t)
	_, port, _ := strings.Cut(address, ":")
	elsewhere := another(t, "127.0.0.2:"+port)
	pid := another(t, address)
	for listen, want := range map[string][]int{
		address: {pid}, "127.0.0.2:" + port: {elsewhere}, "127.0.0.3:" + port: nil, ":" + port: {elsewhere, pid},
	} {
		parsed, err := caddy.ParseNetworkAddress(listen)
		if err != nil {
			t.Fatal(err)
		}
		holders := ports.Holders(t.Context(), parsed)
		var got []int
		for _, p := range holders {
			got = append(got, p.ID)
			if want := filepath.Base(os.Args[0]); p.Name() != want {
				t.Errorf("%s: its program is %q, want %q", p, p.Name(), want)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the processes %v have it, want %v", listen, got, want)
		}
	}
}

// Caddy's admin endpoint listens before any module is asked.
func TestAListenerThatIsSharedAlreadyIsRefused(t *testing.T) {
	address := freeport.Addr(t)
	another(t, address)
	here(t, address)
	for _, listen := range [][]string{{address}, nil} {
		if err := ports.Check(t.Context(), listen); err == nil || !strings.Contains(err.Error(), address) {
			t.Errorf("%v: %v", listen, err)
		}
	}
}

func TestTheEnvironmentPermitsSharing(t *testing.T) {
	address := freeport.Addr(t)
	another(t, address)
	for value, permits := range map[string]bool{"1": true, "": false, "0": false} {
		t.Setenv(ports.ShareEnv, value)
		if err := ports.Check(t.Context(), []string{address}); (err == nil) != permits {
			t.Errorf("%s=%s: %v", ports.ShareEnv, value, err)
		}
	}
}

func TestWhatHasNoPortPasses(t *testing.T) {
	listen := []string{
		"unix/" + t.TempDir() + "/talos.sock", "unix/@talos", "fd/3", "fdgram/4", "udp/127.0.0.1:53",
		"mynet/127.0.0.1:1", "127.0.0.1:0", "no address:at:all", "192.0.2.1:80", "nowhere.invalid:80",
	}
	if err := ports.Check(t.Context(), listen); err != nil {
		t.Error(err)
	}
}
