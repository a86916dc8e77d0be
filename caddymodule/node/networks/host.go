package networks

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/net/idna"

	"github.com/talos-edge/talos-edge/core"
)

// maxHost is the length of the longest host name (RFC 1035), in bytes.
const maxHost = 253

// Canonical returns the one spelling of a host: without a port, in lower case, without the dot that may end it, with
// the labels of an internationalized name in their ASCII form (RFC 5891), an address as [netip.Addr] writes it. It is
// false for what cannot be a host.
func Canonical(host string) (string, bool) {
	if strings.Count(host, ":") > 1 || strings.HasPrefix(host, "[") {
		return canonicalIPv6(host)
	}
	host, port, _ := strings.Cut(host, ":")
	host = strings.TrimSuffix(host, ".")
	if !isDigits(port) || host == "" || len(host) > maxHost {
		return "", false
	}
	if strings.Trim(host, "0123456789.") == "" {
		return canonicalAddr(host)
	}
	if !isASCII(host) {
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil || len(ascii) > maxHost {
			return "", false
		}
		host = ascii
	}
	host = strings.ToLower(host)
	if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || !hasLabels(host) {
		return "", false
	}
	return host, true
}

// canonicalIPv6 is Canonical of an IPv6 address, which has brackets where a port may follow.
func canonicalIPv6(host string) (string, bool) {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		addr, port, closed := strings.Cut(inner, "]")
		port, colon := strings.CutPrefix(port, ":")
		if !closed || !strings.Contains(addr, ":") || !isDigits(port) || port != "" && !colon {
			return "", false
		}
		host = addr
	}
	return canonicalAddr(host)
}

func canonicalAddr(host string) (string, bool) {
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return "", false
	}
	return addr.Unmap().String(), true
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// hasLabels reports whether each label of a name has 1 to 63 characters.
func hasLabels(host string) bool {
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}

// ParseHost reads a host of a configuration, which is [Canonical] then. It has no port.
func ParseHost(text string) (string, error) {
	host, ok := Canonical(text)
	if hasPort := strings.Count(text, ":") == 1 || strings.Contains(text, "]:"); !ok || hasPort {
		return "", fmt.Errorf("%q is not a host name or an address without port", text)
	}
	return host, nil
}

// ParseID reads the id of a network: a UUID in its canonical form (RFC 9562), in either case.
func ParseID(text string) (core.NetworkID, error) {
	id, err := uuid.Parse(text)
	if err != nil || id.String() != strings.ToLower(text) {
		return core.NetworkID{}, fmt.Errorf("%q is not a UUID such as %s", text, example)
	}
	return id, nil
}

const example = "550e8400-e29b-41d4-a716-446655440001"
