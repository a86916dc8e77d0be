package engine

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/talos-edge/talos-edge/core"
)

// pageTokenPurpose names the key that page tokens are authenticated with.
const pageTokenPurpose = "talos/page-token/v1"

// A page token is the base64url (RFC 4648, section 5, without padding) of a cursor and the authentication code of all
// that the token is for: the network, the kind of key, the filter and the cursor. So it continues one list only.
const (
	cursorSize    = 8
	pageTokenSize = cursorSize + 32
)

// pageToken makes the token of the page that begins behind a cursor.
func (e *Engine) pageToken(kind core.Kind, f Filter, cursor uint64) string {
	code := e.keyring.MAC(pageTokenPurpose, e.pageMessage(kind, f, cursor))
	token := binary.BigEndian.AppendUint64(make([]byte, 0, pageTokenSize), cursor)
	return base64.RawURLEncoding.EncodeToString(append(token, code[:]...))
}

// readPageToken returns the cursor of a token. An empty token is the first page's; one that this network did not make
// for this list is [core.BadRequest].
func (e *Engine) readPageToken(kind core.Kind, f Filter, token string) (cursor uint64, err error) {
	if token == "" {
		return 0, nil
	}
	if len(token) == base64.RawURLEncoding.EncodedLen(pageTokenSize) {
		b, err := base64.RawURLEncoding.Strict().DecodeString(token)
		if err == nil && len(b) == pageTokenSize {
			cursor = binary.BigEndian.Uint64(b)
			if e.keyring.VerifyMAC(pageTokenPurpose, e.pageMessage(kind, f, cursor), b[cursorSize:]) {
				return cursor, nil
			}
		}
	}
	return 0, badRequest("page_token: was not made by this server for this list: leave it out to begin anew")
}

// pageMessage is what a token's authentication code is over. All but the filter, which is last, has a fixed length.
func (e *Engine) pageMessage(kind core.Kind, f Filter, cursor uint64) []byte {
	m := append([]byte(nil), e.network[:]...)
	m = append(m, byte(kind))
	m = binary.BigEndian.AppendUint64(m, cursor)
	return append(m, f.String()...)
}
