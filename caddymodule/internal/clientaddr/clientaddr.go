package clientaddr

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// maxHops bounds the proxies between a client and this server.
const maxHops = 32

// nameless is the other end of a unix socket that its process has given no name. Only such a one is a trusted proxy
// (trusted_proxies_unix).
const nameless = "@"

// Of returns the client's address: the peer's or, when that is a trusted proxy, the rightmost address in the
// client_ip_headers that is no trusted proxy's, with or without trusted_proxies_strict. Anything left of it may be the
// client's own invention. Where all of them are trusted proxies' it is the last one that they vouch for.
//
// It is the zero Addr, which no list has, when the client is not known: behind a unix socket, and when what a trusted
// proxy says cannot be read. It is the one place where a request becomes a client address.
func Of(r *http.Request) netip.Addr {
	if overUnixSocket(r) && r.RemoteAddr != nameless {
		return netip.Addr{} // the process at the other end has chosen the name, which may read like an address
	}
	if !FromTrustedProxy(r) {
		return resolvedClient(r)
	}
	hops, ok := Hops(r)
	if !ok {
		return netip.Addr{}
	}
	return hops[len(hops)-1]
}

// Hops returns the addresses that a request from a trusted proxy came through, from the peer to the client. It is
// false when they cannot be told.
func Hops(r *http.Request) (hops []netip.Addr, ok bool) {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	peer, ok := Peer(r)
	if server == nil || !ok {
		return nil, false
	}
	hops = []netip.Addr{peer}
	for _, name := range server.ClientIPHeaders {
		list := strings.Join(r.Header.Values(name), ",")
		if strings.TrimSpace(list) == "" {
			continue
		}
		for _, text := range slices.Backward(strings.Split(list, ",")) {
			// An address that cannot be read hides who asked for the hop before it.
			addr, ok := parseForwarded(text)
			if !ok || len(hops) > maxHops {
				return nil, false
			}
			hops = append(hops, addr)
			if !isTrustedProxy(r, server, addr) {
				return hops, true
			}
		}
	}
	// A proxy that names nobody asks for itself, unless a handler has removed what Caddy still read.
	return hops, len(hops) > 1 || resolvedClient(r) == peer
}

// FromTrustedProxy says whether the peer is one of the server's trusted proxies.
func FromTrustedProxy(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// isTrustedProxy says whether an address is one of the server's trusted proxies. The server keeps its ranges to itself,
// so it is asked what it would say of a peer at that address.
func isTrustedProxy(r *http.Request, server *caddyhttp.Server, addr netip.Addr) bool {
	probe := *r
	probe.RemoteAddr, probe.Header = netip.AddrPortFrom(addr, 0).String(), nil
	return FromTrustedProxy(caddyhttp.PrepareRequest(&probe, caddy.NewEmptyReplacer(), nil, server))
}

// resolvedClient is the client's address as Caddy has resolved it, which without trusted_proxies_strict is what the
// client wrote; the peer's if that is no trusted proxy.
func resolvedClient(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, _ := parseAddr(text)
	return addr
}

// Peer returns who is at the other end of the connection; the zero Addr for a unix socket.
func Peer(r *http.Request) (addr netip.Addr, ok bool) {
	if overUnixSocket(r) {
		return netip.Addr{}, true
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	return parseAddr(host)
}

// overUnixSocket says whether a request came over a unix socket.
func overUnixSocket(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return local != nil && caddy.IsUnixNetwork(local.Network())
}

// parseForwarded reads one element of a header that names addresses. Some proxies add a port.
func parseForwarded(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	return parseAddr(s)
}

// parseAddr reads an address; IPv4 in IPv6 form becomes IPv4, zones are dropped.
func parseAddr(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}

// InEarlyData reports whether the client's address has not been proved: in QUIC's 0-RTT (RFC 8470).
func InEarlyData(r *http.Request) bool { return r.TLS != nil && !r.TLS.HandshakeComplete }
