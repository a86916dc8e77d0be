package upstream

import (
	"encoding/json"
	"net/http"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/verify"
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
	claim      verify.Claim
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
func (n *network) ask(cred string) (*question, *core.Verdict) {
	parsed, final := n.read(cred)
	if final != nil {
		return nil, final
	}
	q := &question{credential: cred, parsed: parsed, claim: n.claimOf(parsed, cred)}
	q.claim.Size = len(q.item()) + 1
	return q, nil
}

// item is the question as it is in a batch.
func (q *question) item() json.RawMessage {
	item, err := json.Marshal(client.VerifyRequest{Credential: q.credential})
	if err != nil {
		return nil // no text fails
	}
	return item
}

func (n *network) claimOf(parsed credential.Parsed, cred string) verify.Claim {
	if parsed.KeyID != "" {
		return verify.Claim{KeyID: parsed.KeyID}
	}
	keyID, expires := n.format.Claimed(cred)
	if keyID == "" || expires.IsZero() {
		return verify.Claim{KeyID: keyID}
	}
	return verify.Claim{KeyID: keyID, End: expires.Unix()}
}

// token tells whether the credential is derived from a key, whose id it does not show.
func (q *question) token() bool { return q.parsed.KeyID == "" }

// credentialType is the type of what was presented.
func (q *question) credentialType() core.CredentialType {
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
