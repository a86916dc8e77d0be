package ports_test

import (
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/internal/ports"
)

func TestWhatOtherMachinesMayReachIsNotOnLoopback(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]bool{
		"127.0.0.1:4420": true, "[::1]:4420": true, "localhost:4420": true, "tcp/127.9.9.9:4420": true,
		"unix//run/talos.sock": true, "unix//run/talos.sock|0222": true, "udp/127.0.0.1:4420": true,
		"127.0.0.1:4420-4425": true, "[::ffff:127.0.0.1]:4420": true,
		":4420": false, "0.0.0.0:4420": false, "[::]:4420": false, "10.0.0.1:4420": false,
		"talos.internal:4420": false, "fd/3": false, "tailscale/:4420": false, "mynet/127.0.0.1:4420": false,
		"127.0.0.1:4420:9": false,
	} {
		if got := ports.OnLoopback(listen); got != want {
			t.Errorf("%s: got %t, want %t", listen, got, want)
		}
	}
}
