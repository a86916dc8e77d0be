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
	item       json.RawMessage // as it is in a batch
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
func (n *network) ask(cred string) (question, *core.Verdict, error) {
	parsed, final := n.read(cred)
	if final != nil {
		return question{}, final, nil
	}
	item, err := json.Marshal(client.VerifyRequest{Credential: cred})
	if err != nil {
		return question{}, nil, unavailable("the credential cannot be sent to the upstream", nil, 0)
	}
	return question{credential: cred, parsed: parsed, item: item, claim: n.claimOf(parsed, cred)}, nil, nil
}

// claim is what a credential says of itself, and what it takes in a batch.
func (n *network) claim(cred string) verify.Claim {
	q, _, err := n.ask(cred)
	if err != nil {
		return verify.Claim{}
	}
	q.claim.Size = q.size()
	return q.claim
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
