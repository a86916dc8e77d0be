package core

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ParseCIDRs reads a list of address ranges. A bare address is a range of one. IPv4 in IPv6 (`::ffff:192.0.2.0/120`)
// becomes IPv4, because that is what addresses of clients are compared as; bits beyond the length are cleared. An empty
// list is nil. The error has reason [BadRequest] and says which item is wrong.
func ParseCIDRs(list []string) ([]netip.Prefix, error) {
	if len(list) == 0 {
		return nil, nil
	}
	prefixes := make([]netip.Prefix, len(list))
	for i, s := range list {
		p, problem := parseCIDR(s)
		if problem != "" {
			return nil, NewError(BadRequest, fmt.Sprintf("address range %d (%.64q) %s", i+1, s, problem))
		}
		prefixes[i] = p
	}
	return prefixes, nil
}

// parseCIDR reads one range, or says what is wrong with it.
func parseCIDR(s string) (p netip.Prefix, problem string) {
	if strings.Contains(s, "%") {
		return p, "has a zone: ranges hold for every interface"
	}
	if strings.Contains(s, "/") {
		var err error
		if p, err = netip.ParsePrefix(s); err != nil {
			return p, "is not a range like 192.0.2.0/24 or 2001:db8::/32"
		}
	} else {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return p, "is not an IP address or a range like 192.0.2.0/24"
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if a := p.Addr(); a.Is4In6() {
		const mapped = 96 // the bits of ::ffff:0:0 before the IPv4 address
		if p.Bits() < mapped {
			return p, "is IPv4 in IPv6 with a length under 96: write the IPv4 range"
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-mapped)
	}
	return p.Masked(), ""
}

// Nowhere is the list of a token whose own list and its key's have no address in common. It is the limited broadcast
// address (RFC 919, section 7), which nobody can send from; [AllowsAddress] does not take it for one either.
var Nowhere = netip.MustParsePrefix("255.255.255.255/32")

// AllowsAddress reports whether a list, if there is one, has a client's address. The zone of an address says which
// interface of ours it was seen at, and nothing about the range. The zero address is in no list.
func AllowsAddress(list []netip.Prefix, client netip.Addr) bool {
	if len(list) == 0 {
		return true
	}
	client = client.Unmap().WithZone("")
	for _, p := range list {
		if p.Contains(client) {
			return client != Nowhere.Addr()
		}
	}
	return false
}

// IntersectCIDRs returns the ranges that are in both of two lists, where an empty list means all addresses. Two
// ranges have all of one in common or nothing.
func IntersectCIDRs(a, b []netip.Prefix) []netip.Prefix {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	var both []netip.Prefix
	for _, p := range a {
		for _, q := range b {
			if !p.Overlaps(q) {
				continue
			}
			if p.Bits() > q.Bits() {
				q = p
			}
			if !slices.Contains(both, q) {
				both = append(both, q)
			}
		}
	}
	if len(both) == 0 {
		return []netip.Prefix{Nowhere}
	}
	return both
}
