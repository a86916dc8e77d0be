package verify

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"

	"github.com/talos-edge/talos-edge/core"
)

// digest identifies a network and a credential. Without the process' key nobody can tell which.
type digest [sha256.Size]byte

// index is the part of a digest that the caches are keyed by. The rest is compared in the entry.
func (d *digest) index() uint64 { return binary.LittleEndian.Uint64(d[:8]) }

// hasher makes digests. Its key is random, so that nobody can aim at an index.
type hasher struct{ key [32]byte }

func newHasher() hasher {
	var h hasher
	_, _ = rand.Read(h.key[:]) // never fails, see its documentation
	return h
}

// stackInput and stackToken are how long an input may be without an allocation: of a key, which is about 120 bytes long
// and the common case, and of a derived token, which is 600 and more.
const (
	stackInput = 512
	stackToken = 2048
)

// of hashes key, network and credential, the last two with their lengths before them, so that no two pairs make the
// same input.
func (h *hasher) of(network core.NetworkID, credential string) digest {
	const framing = len(h.key) + 1 + len(network) + 8
	if len(credential) > stackInput-framing {
		return h.ofToken(network, credential)
	}
	var stack [stackInput]byte
	return sha256.Sum256(h.input(stack[:0], network, credential))
}

// ofToken is of for credentials that are longer than keys.
func (h *hasher) ofToken(network core.NetworkID, credential string) digest {
	var stack [stackToken]byte
	return sha256.Sum256(h.input(stack[:0], network, credential))
}

func (h *hasher) input(b []byte, network core.NetworkID, credential string) []byte {
	b = append(b, h.key[:]...)
	b = append(b, byte(len(network)))
	b = append(b, network[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(credential)))
	return append(b, credential...)
}
