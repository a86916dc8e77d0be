package secrets

import (
	"encoding/base64"
	"testing"

	"go.uber.org/zap"
)

func TestInlineSigningKeysMayBeOfEitherAlphabetAndPaddedOrNot(t *testing.T) {
	t.Parallel()
	// RFC 8037, with both of the characters that differ
	set := []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"?>?>?>~~",` +
		`"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",` +
		`"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}`)
	for _, encoding := range []*base64.Encoding{
		base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding,
	} {
		k := SigningKeys{Source: inlineScheme + encoding.EncodeToString(set)}
		if err := k.Check(); err != nil {
			t.Error(err)
		}
		if err := k.Read(t.Context(), nil, zap.NewNop()); err != nil || string(k.Set) != string(set) {
			t.Errorf("got %v", err)
		}
	}
}
