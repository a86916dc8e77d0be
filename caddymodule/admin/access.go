package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/internal/clientaddr"
	"github.com/talos-edge/talos-edge/caddymodule/node/networks"
)

// access says who may call the private surface: by its address, by the host it asks for, by the page it comes from.
type access struct {
	allow   []netip.Prefix // beside loopback and unix sockets
	hosts   []string       // canonical; beside IP literals and localhost
	parents []string       // of the hosts *.parent, canonical
	origins map[string]struct{}
	cross   *http.CrossOriginProtection
}

// Refusals of the private surface. The caller is told the reason: an operator who is locked out needs it, and it helps
// no one else.
var (
	errForwarded = errors.New("the request came through a proxy that is not trusted here; call the private " +
		"listener directly, or name the proxy in trusted_proxies")
	errAddress = errors.New("this address may not call the private surface; name it in the option allow of " +
		"talos_admin")
	errHost = errors.New("the private surface does not answer to this host name; use localhost or an IP address, " +
		"or name it in the option hosts of talos_admin")
	errOrigin = errors.New("the private surface does not answer to pages of this origin; name it in the option " +
		"origins of talos_admin")
)

// newAccess reads the lists of [Admin], with their placeholders expanded.
func newAccess(allow, hosts, origins []string) (*access, error) {
	a := &access{origins: map[string]struct{}{}, cross: http.NewCrossOriginProtection()}
	for _, s := range allow {
		ranges := []string{s}
		if s == "private_ranges" {
			ranges = caddyhttp.PrivateRangesCIDR()
		}
		for _, r := range ranges {
			prefix, err := parseRange(r)
			if err != nil {
				return nil, fmt.Errorf("allow: %w", err)
			}
			a.allow = append(a.allow, prefix)
		}
	}
	for _, h := range hosts {
		name, below := strings.CutPrefix(h, "*.")
		host, err := networks.ParseHost(name)
		if err != nil {
			return nil, fmt.Errorf("hosts: %w", err)
		}
		if below {
			a.parents = append(a.parents, host)
		} else {
			a.hosts = append(a.hosts, host)
		}
	}
	for _, o := range origins {
		o = strings.ToLower(o)
		if err := a.cross.AddTrustedOrigin(o); err != nil {
			return nil, fmt.Errorf("origins: %w", err)
		}
		a.origins[o] = struct{}{}
	}
	return a, nil
}

// parseRange reads a CIDR or a single address. IPv4 in IPv6 form is IPv4.
func parseRange(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is not an address, a range such as 10.1.0.0/16, or private_ranges", s)
	}
	return p.Masked(), nil
}

// everyone is the first range that has every address of its kind, or empty.
func (a *access) everyone() string {
	for _, p := range a.allow {
		if p.Bits() == 0 {
			return p.String()
		}
	}
	return ""
}

// check says whether a request may go on.
func (a *access) check(r *http.Request) error {
	if err := a.checkAddress(r); err != nil {
		return err
	}
	if !a.answersTo(r.Host) {
		return errHost
	}
	// The protection lets safe methods pass. Here no method is safe for a page of another origin: a read tells who
	// holds which key.
	probe := *r
	probe.Method = http.MethodPost
	if a.cross.Check(&probe) != nil {
		return errOrigin
	}
	return nil
}

// checkAddress checks the peer and, when that is a trusted proxy, the client and each proxy on the way, which could
// name any client.
func (a *access) checkAddress(r *http.Request) error {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil {
		return errAddress
	}
	peer, ok := clientaddr.Peer(r)
	if !ok || !a.allowed(peer) {
		return errAddress
	}
	if clientaddr.InEarlyData(r) {
		return errAddress // the address is not validated yet (RFC 9000, section 8.1)
	}
	if !clientaddr.FromTrustedProxy(r) {
		// These headers reveal a proxy that forwards requests of other clients. So does HTTP/1.0, which nginx speaks
		// by default and no client of the API does.
		if forwarded(r.Header, server.ClientIPHeaders) || !r.ProtoAtLeast(1, 1) {
			return errForwarded
		}
		return nil
	}
	hops, ok := clientaddr.Hops(r)
	if !ok {
		return errAddress
	}
	if len(hops) == 1 && forwarded(r.Header, nil) {
		return errForwarded // it does not name its client
	}
	for _, hop := range hops[1:] {
		if !a.allowed(hop) {
			return errAddress
		}
	}
	return nil
}

// allowed says whether an address may call. The zero Addr is a unix socket.
func (a *access) allowed(addr netip.Addr) bool {
	return !addr.IsValid() || addr.IsLoopback() ||
		slices.ContainsFunc(a.allow, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// answersTo says whether a Host header names this surface. A page that has its own name resolve to a loopback address
// (DNS rebinding) still sends that name.
func (a *access) answersTo(host string) bool {
	host, ok := networks.Canonical(host)
	if _, err := netip.ParseAddr(host); ok && err == nil {
		return true
	}
	_, parent, _ := strings.Cut(host, ".")
	return ok && (host == "localhost" || slices.Contains(a.hosts, host) || slices.Contains(a.parents, parent))
}

// forwarded says whether a request names a proxy that it came through, in a header that proxies add or in one of those
// that this server reads the client's address from.
func forwarded(h http.Header, clientIPHeaders []string) bool {
	for name := range h {
		if adminapi.IsForwardingHeader(name) {
			return true
		}
		name = strings.NewReplacer("_", "-", ".", "-").Replace(name)
		if slices.ContainsFunc(clientIPHeaders, func(s string) bool { return strings.EqualFold(s, name) }) {
			return true
		}
	}
	return false
}
