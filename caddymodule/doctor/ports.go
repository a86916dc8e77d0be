package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/caddymodule/internal/ports"
)

// maxPorts bounds the ports of one range that are tried.
const maxPorts = 64

// checkPorts tries each port that the configuration listens on.
func checkPorts(ctx context.Context, s *subject) (found []Finding, skipped string) {
	listen := map[string]bool{}
	for _, server := range s.Servers {
		if server == nil {
			continue
		}
		for _, address := range server.Listen {
			listen[address] = true
		}
	}
	if admin := s.adminListen(); admin != "" {
		listen[admin] = true
	}
	if len(listen) == 0 {
		return nil, "nothing listens"
	}
	for _, address := range slices.Sorted(maps.Keys(listen)) {
		found = append(found, tryPorts(ctx, address)...)
	}
	return found, ""
}

func tryPorts(ctx context.Context, address string) (found []Finding) {
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil || !strings.HasPrefix(parsed.Network, "tcp") || parsed.StartPort == 0 {
		return nil // a socket of another kind, or any port
	}
	for i, one := range parsed.Expand() {
		if i == maxPorts {
			break
		}
		found = append(found, tryPort(ctx, one)...)
	}
	return found
}

func tryPort(ctx context.Context, one caddy.NetworkAddress) []Finding {
	address := one.JoinHostPort(0)
	switch err := ports.Try(ctx, one); {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		return judgeHolders(address, ports.Holders(ctx, one))
	case errors.Is(err, fs.ErrPermission):
		return []Finding{{
			Severity: Warning, What: "this user may not listen on " + address,
			Why: "the node does not start as this user",
			Fix: "give it the capability (AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit), or use a port from " +
				"1024 on",
		}}
	default:
		return []Finding{{
			Severity: Error, What: err.Error(), Why: "the node does not start",
			Fix: "listen on an address that this machine has",
		}}
	}
}

// judgeHolders judges who has a port: one process of this program is the node that runs.
func judgeHolders(address string, holders []ports.Process) []Finding {
	names := make([]string, len(holders))
	for i, p := range holders {
		names[i] = p.String()
	}
	switch {
	case len(holders) == 0:
		return []Finding{{
			Severity: Note, What: address + " is in use by a process that this user cannot see",
			Why: "if it is not the node itself, each of the two would get some of the connections",
			Fix: "run the command as root or as the user that runs the node, to learn which process it is",
		}}
	case len(holders) > 1:
		return []Finding{{
			Severity: Error, What: address + " is shared by " + sentence(names),
			Why: "each gets some of the connections, and answers from a database of its own",
			Fix: "stop all but one of them",
		}}
	case ours(holders[0].Name()):
		return nil
	}
	return []Finding{{
		Severity: Error, What: fmt.Sprintf("%s is in use by %s", address, names[0]),
		Why: "the node does not start, or each of the two gets some of the connections",
		Fix: "stop that process, or listen on another port",
	}}
}

// ours reports whether a program is this one, or a Caddy that may have this module, by its name.
func ours(name string) bool {
	self, err := os.Executable()
	return name == "talos" || name == "caddy" || err == nil && name == filepath.Base(self)
}
