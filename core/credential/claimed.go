package credential

import (
	"encoding/base64"
	"strings"
	"time"
)

// Claimed reads what a derived token says of itself, of which nothing has been checked: the id of its parent key, empty
// where it cannot be read, and when it ends, zero where that cannot be read or is not for the claims alone to say,
// because a holder appended caveats. Of several claims caveats the first counts: it is the one that the server wrote.
// It is for telling the answers to several credentials apart, and never for a decision.
func (f *Format) Claimed(token string) (keyID string, expires time.Time) {
	var claims []byte
	appended := false
	if isJWT(token) {
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		if err != nil {
			return "", time.Time{}
		}
		claims = payload
	} else if rest, ok := f.cutMacaroon(token); ok {
		m, ok := decodeMacaroon(rest)
		if !ok {
			return "", time.Time{}
		}
		first, ok := strings.CutPrefix(string(m.Caveats()[0].Id), claimsCaveat)
		if !ok {
			return "", time.Time{}
		}
		claims, appended = []byte(first), len(m.Caveats()) > 1
	}
	all, err := ParseObject(claims)
	if err != nil || !text(all["sub"], &keyID) {
		return "", time.Time{}
	}
	if !appended {
		numericDate(all["exp"], &expires)
	}
	return keyID, expires
}
