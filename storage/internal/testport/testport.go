package testport

import (
	"errors"
	"math/rand/v2"
	"strconv"
)

// Ports lie below those that operating systems give to outgoing connections and to port 0 (32768 and up on Linux, 49152
// and up elsewhere), so that a server which was stopped finds its port free again.
const (
	first = 10_000
	count = 22_000
)

// ErrTaken is how a start fails that cannot listen on its port.
var ErrTaken = errors.New("the port is taken")

// Try calls start with one port after the other until it does not fail with [ErrTaken].
func Try(start func(port string) error) error {
	var err error
	for range 20 {
		if err = start(Any()); !errors.Is(err, ErrTaken) {
			break
		}
	}
	return err
}

// Any is one of the ports, at random: nobody has it, in all likelihood.
func Any() string {
	return strconv.Itoa(first + rand.IntN(count)) //nolint:gosec // not a secret
}
