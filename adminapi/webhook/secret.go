package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Bounds of a secret, in bytes.
const (
	minSecret = 24
	maxSecret = 64
)

const secretPrefix = "whsec_"

// parseSecret reads the form of a secret that the specification has. The error does not repeat it.
func parseSecret(text string) ([]byte, error) {
	encoded, found := strings.CutPrefix(text, secretPrefix)
	secret, err := base64.StdEncoding.DecodeString(encoded)
	if !found || err != nil || len(secret) < minSecret || len(secret) > maxSecret {
		return nil, errors.New("must be whsec_ and the base64 form of 24 to 64 random bytes; " +
			"make one with: echo whsec_$(openssl rand -base64 32)")
	}
	return secret, nil
}

// sign returns the value of the header webhook-signature.
func sign(secret []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
