package ports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
)

// ShareEnv is the environment variable that, with the value 1, lets this process listen where another one listens
// already: for handing over from one process to the next.
const ShareEnv = "TALOS_SHARE_PORTS"

// Shared reports whether [ShareEnv] permits it to share ports.
func Shared() bool { return os.Getenv(ShareEnv) == "1" }

// Check returns an error when another process listens on one of some addresses, in the form of Caddy's `listen`, or on
// one that this process has a listener on already. What cannot be compared passes: unix sockets, inherited sockets,
// networks of plugins, and port 0. So does everything when [Shared] is true.
//
// A listener of this process is no obstacle, so that a reload passes. Only /proc shows whose a listener is. Without
// it, addresses are compared before the first configuration runs, and not after.
func Check(ctx context.Context, listen []string) error {
	if Shared() {
		return nil
	}
	sockets, known := readSockets()
	for _, text := range listen {
		address, err := caddy.ParseNetworkAddress(text)
		if err != nil || !strings.HasPrefix(address.Network, "tcp") || address.EndPort == 0 {
			continue // Caddy reports what is wrong
		}
		for _, one := range address.Expand() {
			if err := Try(ctx, one); !errors.Is(err, syscall.EADDRINUSE) {
				continue
			}
			if !known {
				if caddy.ActiveContext().Context == nil {
					return inUse(one.JoinHostPort(0), nil)
				}
				continue
			}
			if other := sockets.foreign(resolve(ctx, one), overlap); other != nil {
				return inUse(one.JoinHostPort(0), other)
			}
		}
	}
	for _, own := range sockets {
		if !own.own {
			continue
		}
		if other := sockets.foreign([]netip.AddrPort{own.addr}, equal); other != nil {
			return inUse(own.addr.String(), other)
		}
	}
	return nil
}

// inUse is the error for an address with a listener of another process. The listener may be unknown: nil.
func inUse(address string, other *socket) error {
	owner := "another process"
	if other != nil {
		if processes := owners(map[string]bool{other.inode: true}); len(processes) > 0 {
			owner = processes[0].String()
		}
	}
	return fmt.Errorf("%s is in use by %s: each would get some of the connections; stop that process or configure "+
		"another port (%s=1 permits it to share ports, for a handover from one process to the next)",
		address, owner, ShareEnv)
}

// Try listens on one TCP address for a moment, and shares it with nobody. The error is [syscall.EADDRINUSE] when
// something listens there already. The listener is closed at once; the port is free then, so whoever connects in that
// moment is refused as before.
func Try(ctx context.Context, address caddy.NetworkAddress) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, address.Network, address.JoinHostPort(0))
	if err == nil {
		_ = l.Close() // nothing was accepted
	}
	return err
}

// Process is one that listens on a port.
type Process struct {
	ID  int
	Exe string // the path of its program; empty: not known
}

// Name is that of its program, also of one that was replaced while it ran. It is empty when it is not known.
func (p Process) Name() string {
	if p.Exe == "" {
		return ""
	}
	return strings.TrimSuffix(filepath.Base(p.Exe), " (deleted)")
}

// String names the process for people.
func (p Process) String() string {
	text := "process " + strconv.Itoa(p.ID)
	if name := p.Name(); name != "" {
		text += " (" + name + ")"
	}
	return text
}

// Holders are the processes that listen on one TCP address, or on a wider one of its port, as far as this process may
// know them. On systems other than Linux there are none.
func Holders(ctx context.Context, address caddy.NetworkAddress) []Process {
	sockets, _ := readSockets()
	at := resolve(ctx, address)
	inodes := make(map[string]bool)
	for _, s := range sockets {
		if slices.ContainsFunc(at, func(a netip.AddrPort) bool { return overlap(a, s.addr) }) {
			inodes[s.inode] = true
		}
	}
	return owners(inodes)
}

// resolve returns the addresses of a host, all of them for an empty one.
func resolve(ctx context.Context, address caddy.NetworkAddress) []netip.AddrPort {
	port := uint16(address.StartPort) //nolint:gosec // Caddy has checked it
	if address.Host == "" {
		return []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), port)}
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", address.Host)
	if err != nil {
		return nil
	}
	all := make([]netip.AddrPort, len(addrs))
	for i, addr := range addrs {
		all[i] = netip.AddrPortFrom(addr.Unmap().WithZone(""), port)
	}
	return all
}

// socket is a TCP listener of this machine.
type socket struct {
	addr  netip.AddrPort
	own   bool // this process has it
	inode string
}

type sockets []socket

// foreign returns a listener of another process that is at one of some addresses.
func (s sockets) foreign(at []netip.AddrPort, same func(a, b netip.AddrPort) bool) *socket {
	for i := range s {
		if !s[i].own && slices.ContainsFunc(at, func(a netip.AddrPort) bool { return same(a, s[i].addr) }) {
			return &s[i]
		}
	}
	return nil
}

func equal(a, b netip.AddrPort) bool { return a == b }

// overlap reports whether a connection could arrive at both of two listeners. An unspecified IPv6 address takes IPv4
// connections, too.
func overlap(a, b netip.AddrPort) bool {
	covers := func(wide, narrow netip.Addr) bool {
		return wide.IsUnspecified() && (wide.Is6() || narrow.Is4() || narrow.IsUnspecified())
	}
	return a.Port() == b.Port() && (a.Addr() == b.Addr() || covers(a.Addr(), b.Addr()) || covers(b.Addr(), a.Addr()))
}
