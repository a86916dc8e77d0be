package verify

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"

	"github.com/talos-edge/talos-edge/core"
)

// digest stands for a network and a credential. Without the process' key nobody can tell which.
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

// stackInput is how long an input may be without an allocation. Issued keys are about 120 bytes, derived tokens 400.
const stackInput = 512

// of hashes key, network and credential, the last two with their lengths before them, so that no two pairs make the
// same input.
func (h *hasher) of(network core.NetworkID, credential string) digest {
	var stack [stackInput]byte
	b := append(stack[:0], h.key[:]...)
	b = append(b, byte(len(network)))
	b = append(b, network[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(credential)))
	b = append(b, credential...)
	return sha256.Sum256(b)
}
