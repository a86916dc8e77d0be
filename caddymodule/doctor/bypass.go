package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// knock bounds a connection to an app.
const knock = 500 * time.Millisecond

// checkBypass looks for ways to a gated app that do not lead through its gate.
func checkBypass(ctx context.Context, s *subject) (found []Finding, skipped string) {
	apps := map[string]string{} // sites by the apps behind their gates
	for i := range s.sites {
		for _, a := range s.sites[i].apps {
			if a.gated {
				apps[a.dial] = s.sites[i].name
			}
		}
	}
	if len(apps) == 0 {
		return nil, "no gate has an app behind it (reverse_proxy)"
	}
	for i := range s.sites {
		for _, a := range s.sites[i].apps {
			if gate, ok := apps[a.dial]; ok && !a.gated && gate != s.sites[i].name {
				found = append(found, Finding{
					Severity: Error,
					What: fmt.Sprintf("%s proxies to %s without a gate; %s has one before it",
						s.sites[i].name, a.dial, gate),
					Why: "whoever reaches that site needs no key, and can claim to be anyone by identity headers",
					Fix: "write talos_gate before the reverse_proxy of that site",
				})
			}
		}
	}
	own := ownAddresses()
	for dial := range apps {
		found = append(found, judgeApp(ctx, dial, apps[dial], own)...)
	}
	slices.SortFunc(found, func(a, b Finding) int { return strings.Compare(a.What, b.What) })
	return unique(found), ""
}

// judgeApp reports whether an app answers at addresses of this machine that others may reach.
func judgeApp(ctx context.Context, dial, gate string, own []netip.Addr) []Finding {
	address, err := caddy.ParseNetworkAddress(dial)
	if err != nil || !strings.HasPrefix(address.Network, "tcp") || strings.ContainsAny(dial, "{}") {
		return nil // a unix socket, or a name that is only known for each request
	}
	if ip, err := netip.ParseAddr(address.Host); err == nil && !ip.IsLoopback() && !slices.Contains(own, ip) {
		return []Finding{{
			Severity: Note,
			What:     fmt.Sprintf("the app %s of %s is on another machine", dial, gate),
			Why:      "this command cannot see who else reaches it; whoever does needs no key",
			Fix:      "let it take connections from this machine only, by a firewall or a network of its own",
		}}
	}
	for _, ip := range own {
		if !answers(ctx, netip.AddrPortFrom(ip, uint16(address.StartPort))) { //nolint:gosec // Caddy has checked it
			continue
		}
		return []Finding{{
			Severity: Error,
			What: fmt.Sprintf("the app %s of %s answers at %s, too", dial, gate,
				net.JoinHostPort(ip.String(), strconv.FormatUint(uint64(address.StartPort), 10))),
			Why: "whoever reaches that address needs no key, and can claim to be anyone by identity headers",
			Fix: "let the app listen on 127.0.0.1 only, or on a unix socket; a firewall helps against other machines",
		}}
	}
	return nil
}

// answers reports whether something accepts connections at an address.
func answers(ctx context.Context, at netip.AddrPort) bool {
	d := net.Dialer{Timeout: knock}
	conn, err := d.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// ownAddresses are the addresses of this machine that other machines may reach.
func ownAddresses() (own []netip.Addr) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			own = append(own, p.Addr())
		}
	}
	return own
}
