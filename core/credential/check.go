package credential

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// MaxLength is the length of the longest credential, in bytes.
const MaxLength = 16 << 10

// Errors of [Check].
var (
	ErrEmpty    = errors.New("credential is empty")
	ErrTooLong  = errors.New("credential is longer than 16 KiB")
	ErrEncoding = errors.New("credential is not UTF-8 text without NUL")
)

// Check says whether a string can be a credential at all: 1 to [MaxLength] bytes of valid UTF-8 without NUL. Whoever
// takes a credential from a request checks it before anything else sees it.
func Check(s string) error {
	switch {
	case s == "":
		return ErrEmpty
	case len(s) > MaxLength:
		return ErrTooLong
	case !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0:
		return ErrEncoding
	}
	return nil
}
