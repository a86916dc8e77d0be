//go:build !linux

package ports

// readSockets is false: whose a listener is cannot be known.
func readSockets() (sockets, bool) { return nil, false }

// owners are none.
func owners(map[string]bool) []Process { return nil }
