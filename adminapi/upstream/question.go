package upstream

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// network is one network as the upstream's calls need it.
type network struct {
	id     core.NetworkID
	format *credential.Format
	header http.Header
	host   string
}

// question is one credential on its way to the upstream.
type question struct {
	credential string
	parsed     credential.Parsed
	item       json.RawMessage // as it stands in a batch
}

// read finds out what a credential would be. Without the network's secret a checksum says nothing here: that a key is
// not genuine is for the upstream to tell.
func (n *network) read(cred string) (parsed credential.Parsed, final *core.Verdict) {
	if credential.Check(cred) != nil {
		return parsed, &core.Verdict{Network: n.id, Code: core.CodeInvalidFormat}
	}
	parsed = n.format.Parse(cred)
	if parsed.Kind == credential.Imported && len(cred) > credential.MaxImportedLength {
		final = core.Unknown(n.id, parsed.KeyID, core.ImportedKey)
	}
	return parsed, final
}

// ask makes the question about a credential, or the verdict on one that needs none.
func (n *network) ask(cred string) (question, *core.Verdict, error) {
	parsed, final := n.read(cred)
	if final != nil {
		return question{}, final, nil
	}
	item, err := json.Marshal(client.VerifyRequest{Credential: cred})
	if err != nil {
		return question{}, nil, unavailable("the credential cannot be sent to the upstream", nil, 0)
	}
	return question{credential: cred, parsed: parsed, item: item}, nil, nil
}

// size is what a question takes in a batch, in bytes.
func (q question) size() int { return len(q.item) + 1 }

// token tells whether the credential is derived from a key, whose id it does not show.
func (q question) token() bool { return q.parsed.KeyID == "" }

// credentialType is the type of what was presented.
func (q question) credentialType() core.CredentialType {
	switch q.parsed.Kind {
	case credential.Issued:
		return core.IssuedKey
	case credential.Imported:
		return core.ImportedKey
	case credential.JWT:
		return core.DerivedJWT
	case credential.Macaroon:
		return core.DerivedMacaroon
	default:
		return core.UnknownCredentialType
	}
}

// subject is the key that a JWT says it was derived from, which nobody has checked; empty: it does not say.
func (q question) subject() string {
	if q.parsed.Kind != credential.JWT {
		return ""
	}
	parts := strings.Split(q.credential, ".")
	if len(parts) != 3 {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if json.Unmarshal(text, &claims) != nil {
		return ""
	}
	return claims.Subject
}
