package credential

import (
	"crypto/hmac"
	"crypto/sha256"
)

// MAC returns the authentication code of a message under a key that is derived from the current secret for one purpose.
// Codes of different purposes, and checksums of keys, say nothing about each other.
func (k *Keyring) MAC(purpose string, message []byte) [sha256.Size]byte {
	return k.secrets[0].mac(purpose, message)
}

// VerifyMAC says whether code is a message's, for a purpose, under any of the secrets. It always tries all of them,
// each in constant time.
func (k *Keyring) VerifyMAC(purpose string, message, code []byte) bool {
	ok := false
	for _, s := range k.secrets {
		want := s.mac(purpose, message)
		if hmac.Equal(want[:], code) {
			ok = true
		}
	}
	return ok
}

func (s *secret) mac(purpose string, message []byte) (code [sha256.Size]byte) {
	h := hmac.New(sha256.New, s.sum(purpose, nil))
	_, _ = h.Write(message)
	h.Sum(code[:0])
	return code
}
