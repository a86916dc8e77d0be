package webhook

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// addressError is the error of a connection to an address that is not allowed.
type addressError struct{ message string }

func (e *addressError) Error() string { return e.message }

// privateRanges are addresses inside a network that is not the Internet.
var privateRanges = prefixes("127.0.0.0/8 ::1/128 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7")

// forbiddenRanges are never delivered to: reserved addresses, services of clouds for their machines such as those of
// metadata, and addresses that a gateway translates into others, which nobody would judge.
var forbiddenRanges = prefixes("0.0.0.0/8 169.254.0.0/16 168.63.129.16/32 192.0.0.0/24 198.18.0.0/15 224.0.0.0/3 " +
	"100.100.100.200/32 ::/96 ::ffff:0:0:0/96 fd00:ec2::23/128 fd00:ec2::254/128 fd20:ce::254/128 " +
	"fe80::/10 fec0::/10 ff00::/8 64:ff9b::/96 64:ff9b:1::/48 2001::/32 2002::/16")

func prefixes(list string) (all []netip.Prefix) {
	for _, p := range strings.Fields(list) {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// checkAddress refuses addresses that deliveries do not go to.
func checkAddress(addr netip.Addr, allowPrivate bool) error {
	addr = addr.WithZone("").Unmap()
	in := func(p netip.Prefix) bool { return p.Contains(addr) }
	switch {
	case !addr.IsLoopback() && slices.ContainsFunc(forbiddenRanges, in):
		return &addressError{fmt.Sprintf("%s is an address that no webhook is delivered to: it is reserved, or that "+
			"of a service inside a cloud; use a URL that leads to another address", addr)}
	case !allowPrivate && slices.ContainsFunc(privateRanges, in):
		return &addressError{fmt.Sprintf("%s is a private address: allow_private lets the webhook deliver there", addr)}
	default:
		return nil
	}
}

// dialer connects to addresses that are allowed. It judges the address that a connection is about to be made to, after
// its name was resolved. allowLoopback is for a URL that names this machine by itself, and onlyLoopback for one that is
// not encrypted, too.
func dialer(
	resolver *net.Resolver, allowPrivate, allowLoopback, onlyLoopback bool,
) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: attemptTimeout, KeepAlive: 30 * time.Second, Resolver: resolver}
	d.Control = func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		switch {
		case err != nil:
			return &addressError{"the address cannot be read"}
		case allowLoopback && to.Addr().Unmap().IsLoopback():
			return nil
		case onlyLoopback:
			return &addressError{fmt.Sprintf("%s is not on this machine, and http:// is not encrypted: use https://",
				to.Addr())}
		default:
			return checkAddress(to.Addr(), allowPrivate)
		}
	}
	return d.DialContext
}
