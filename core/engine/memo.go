package engine

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"unsafe"

	"github.com/talos-edge/talos-edge/core"
)

// The bounds of a tokenMemo: 16 MiB in all.
const (
	memoShards     = 16
	memoShardBytes = 1 << 20
)

// tokenMemo remembers tokens that were found genuine, so that each has its signature checked once and not on every
// look-up. It holds no token, only digests under a key of each engine's own: what one engine has found says nothing to
// another one, which may have other keys or issuers. When it is full any may be forgotten, which costs a check.
type tokenMemo struct {
	shards [memoShards]struct {
		mu    sync.Mutex
		known map[memoDigest]*token
		bytes int
	}
}

type memoDigest [sha256.Size]byte

// memoKey is the key of an engine's digests.
type memoKey [sha256.Size]byte

func newMemoKey() (k memoKey) {
	_, _ = rand.Read(k[:]) // never fails, see its documentation
	return k
}

func (k *memoKey) digest(cred string) memoDigest {
	h := sha256.New()
	_, _ = h.Write(k[:])
	_, _ = h.Write([]byte(cred))
	var d memoDigest
	h.Sum(d[:0])
	return d
}

func (m *tokenMemo) get(d memoDigest) *token {
	s := &m.shards[d[0]%memoShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[d]
}

func (m *tokenMemo) put(d memoDigest, t *token) {
	s := &m.shards[d[0]%memoShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[d] != nil {
		return
	}
	if s.known == nil {
		s.known = make(map[memoDigest]*token)
	}
	size := t.size()
	for other, old := range s.known {
		if s.bytes+size <= memoShardBytes {
			break
		}
		delete(s.known, other)
		s.bytes -= old.size()
	}
	s.known[d] = t
	s.bytes += size
}

// drop forgets a token.
func (m *tokenMemo) drop(d memoDigest) {
	s := &m.shards[d[0]%memoShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.known[d]; t != nil {
		delete(s.known, d)
		s.bytes -= t.size()
	}
}

// size is about how much memory a remembered token takes, in bytes.
func (t *token) size() int {
	const perEntry = 160 // of the map
	n := perEntry + int(unsafe.Sizeof(*t)) + len(t.keyID) + len(t.actor) + len(t.issuer) +
		len(t.cidrs)*int(unsafe.Sizeof(core.Nowhere))
	if t.until != nil {
		n += int(unsafe.Sizeof(*t.until))
	}
	for _, s := range t.scopes {
		n += int(unsafe.Sizeof(s)) + len(s)
	}
	return n
}
