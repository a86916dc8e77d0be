package credential

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// MinSecretLength is the length of the shortest HMAC secret, in bytes.
const MinSecretLength = 32

// Keyring holds a network's HMAC secrets: the current one, which makes checksums, and retired ones, which still verify.
// It is safe for concurrent use.
type Keyring struct {
	secrets []*secret // the current one first
}

// secret is one HMAC key with the states that are ready for use.
type secret struct {
	key  []byte
	pool sync.Pool
}

// NewKeyring makes a keyring. Each secret has at least [MinSecretLength] bytes; none is given twice.
func NewKeyring(current string, retired ...string) (*Keyring, error) {
	k := &Keyring{}
	seen := map[string]bool{}
	for i, s := range append([]string{current}, retired...) {
		name := "current HMAC secret"
		if i > 0 {
			name = fmt.Sprintf("retired HMAC secret %d", i)
		}
		if len(s) < MinSecretLength {
			return nil, fmt.Errorf("%s has %d bytes; at least %d are needed", name, len(s), MinSecretLength)
		}
		if seen[s] {
			return nil, errors.New(name + " repeats an earlier one")
		}
		seen[s] = true
		key := []byte(s)
		k.secrets = append(k.secrets, &secret{key: key, pool: sync.Pool{New: func() any {
			return hmac.New(sha256.New, key)
		}}})
	}
	return k, nil
}

// Checks returns a check value of each secret, the current one's first. A check value tells secrets apart and says
// nothing else about them, so it may be stored beside the keys.
func (k *Keyring) Checks() []string {
	checks := make([]string, len(k.secrets))
	for i, s := range k.secrets {
		sum := s.sum("talos/secret-check/v1", nil)
		checks[i] = hex.EncodeToString(sum[:16])
	}
	return checks
}

// sign appends the checksum of text under the current secret to dst.
func (k *Keyring) sign(dst []byte, text string) []byte { return k.secrets[0].sum(text, dst) }

// verify says whether sum is text's checksum under any of the secrets. It always tries all of them, each in constant
// time.
func (k *Keyring) verify(text string, sum []byte) bool {
	var buf [sha256.Size]byte
	ok := false
	for _, s := range k.secrets {
		if hmac.Equal(s.sum(text, buf[:0]), sum) {
			ok = true
		}
	}
	return ok
}

func (s *secret) sum(text string, dst []byte) []byte {
	h := s.pool.Get().(hash.Hash) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	h.Reset()
	_, _ = h.Write([]byte(text))
	dst = h.Sum(dst)
	s.pool.Put(h)
	return dst
}
