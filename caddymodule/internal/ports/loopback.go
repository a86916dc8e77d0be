package ports

import (
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// OnLoopback reports whether an address, in the form of Caddy's `listen`, can be reached from this machine only: a
// loopback address or a unix socket. It is false for what it cannot judge.
func OnLoopback(listen string) bool {
	address, err := caddy.ParseNetworkAddress(listen)
	switch {
	case err != nil:
		return false
	case address.IsUnixNetwork():
		return true
	case !strings.HasPrefix(address.Network, "tcp") && !strings.HasPrefix(address.Network, "udp"):
		return false
	case address.Host == "localhost":
		return true
	}
	ip, err := netip.ParseAddr(address.Host)
	return err == nil && ip.Unmap().IsLoopback()
}
