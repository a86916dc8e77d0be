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

// query is one credential that the upstream is asked about.
type query struct {
	credential string
	parsed     credential.Parsed
	claim      verify.Claim
}

// read finds out what a credential would be. The network's secret is not known here, so a checksum is not verified:
// whether a key is genuine is for the upstream to tell.
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

// newQuery makes the query for a credential, or the final verdict on one that needs no query.
func (n *network) newQuery(cred string) (*query, *core.Verdict) {
	parsed, final := n.read(cred)
	if final != nil {
		return nil, final
	}
	q := &query{credential: cred, parsed: parsed, claim: n.claimOf(parsed, cred)}
	q.claim.Size = len(q.item()) + 1
	return q, nil
}

// item is the query as an item of a batch.
func (q *query) item() json.RawMessage {
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

// token reports whether the credential is a derived token, which does not show its key's id.
func (q *query) token() bool { return q.parsed.KeyID == "" }

// credentialType is the type of what was presented.
func (q *query) credentialType() core.CredentialType {
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
