package core

import (
	"fmt"
	"net/netip"
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
