package node

import (
	"encoding/base64"
	"testing"
)

func TestInlineSigningKeysMayBeOfEitherAlphabetAndPaddedOrNot(t *testing.T) {
	t.Parallel()
	set := []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"?>?>?>~~","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",` +
		`"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}`) // RFC 8037, with both of the characters that differ
	for _, encoding := range []*base64.Encoding{
		base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding,
	} {
		k := signingKeys{source: inlineScheme + encoding.EncodeToString(set)}
		if err := k.check(); err != nil {
			t.Error(err)
		}
		if err := k.read(); err != nil || string(k.set) != string(set) {
			t.Errorf("got %v", err)
		}
	}
}
