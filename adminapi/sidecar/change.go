package sidecar

import (
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
)

// change is what a request that passes may do to keys.
type change struct {
	keyIDs  []string // known from the request
	others  []string // of the same lineage, known from the answer
	creates bool     // the answer names keys that came to be
	lineage bool     // it may be about keys that neither the request nor the answer's body names
	reason  core.RevocationReason
}

func (c *change) isOne() bool { return c.creates || len(c.keyIDs) > 0 }

// importBody is what is read of an import: of one key, or of many.
type importBody struct {
	importItem
	Requests body.List[importItem] `json:"requests"`
}

type importItem struct {
	RawKey string `json:"raw_key"`
}

// classify finds out what a request may change. One that may change something, and does not name the key, does
// not pass: the sidecar would go on using what it has cached.
func (p *passing) classify(w http.ResponseWriter, keyID string, content []byte) error {
	op := p.op
	switch p.caller.Method {
	case http.MethodGet, http.MethodHead:
		return nil
	case http.MethodPost, http.MethodPatch, http.MethodDelete:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, PATCH, DELETE")
		return core.NewError(adminapi.MethodNotAllowed, "the API has no such method; use GET, POST, PATCH or DELETE")
	}
	p.change.lineage = p.caller.URL.Query().Has(client.LineageParameter)
	if op == nil { // of another implementation, or of a later version
		var below bool
		if keyID, below = adminapi.KeyInPath(p.caller.URL.Path); !below || keyID == "" {
			return adminapi.NoPathError()
		}
		p.change.keyIDs, p.change.creates = spellings(keyID), true // it may name a successor of the key
		return nil
	}
	if op.Changes&adminapi.ChangesKey != 0 {
		p.change.keyIDs = spellings(keyID)
	}
	p.change.creates = op.Changes&adminapi.CreatesKeys != 0
	if op.Changes&adminapi.GivesReason != 0 {
		p.change.reason = reasonIn(content)
	}
	if op.Changes&adminapi.ImportsKeys != 0 {
		return p.identifyImports(content)
	}
	return nil
}

// reasonIn is the reason that a request gives for a revocation. The upstream refuses one that cannot be read.
func reasonIn(content []byte) core.RevocationReason {
	var in client.RevokeRequest
	if body.Object(content, &in) != nil {
		return core.ReasonUnspecified
	}
	reason, _ := adminapi.ParseReason(in.Reason)
	return reason
}

// identifyImports notes the keys that an import is going to make: they may have been asked for already.
func (p *passing) identifyImports(content []byte) error {
	var in importBody
	if err := body.Object(content, &in); err != nil {
		return err
	}
	if in.Requests.Over {
		return adminapi.BatchSizeError()
	}
	for _, item := range append(in.Requests.Items, in.importItem) {
		if item.RawKey == "" {
			continue
		}
		if q, _ := p.upstream.Prepare(p.network, item.RawKey); q.KeyID != "" {
			p.change.keyIDs = append(p.change.keyIDs, q.KeyID)
		}
	}
	return nil
}

// spellings are a key id as a path has it, and as verdicts name the key that servers may take it for: ids are in
// lower case, and a UUID has hyphens.
func spellings(id string) []string {
	ids := []string{id}
	if lower := strings.ToLower(id); lower != id {
		ids = append(ids, lower)
	}
	if parsed, err := uuid.Parse(id); err == nil && parsed.String() != ids[len(ids)-1] {
		ids = append(ids, parsed.String())
	}
	return ids
}

// created is what is read of the answer to a change: the keys that it names.
type created struct {
	KeyID    string    `json:"key_id"`
	ActorID  string    `json:"actor_id"`
	Secret   isThere   `json:"secret"`
	Issued   *created  `json:"issued_api_key"`
	Imported *created  `json:"imported_api_key"`
	Results  []created `json:"results"`
}

// isThere reports whether an answer has a text, and does not hold it.
type isThere bool

// UnmarshalJSON looks at a value.
func (s *isThere) UnmarshalJSON(text []byte) error {
	*s = isThere(len(text) > len(`""`) && text[0] == '"')
	return nil
}

// each calls f with each key.
func (c *created) each(f func(key *created)) {
	if c == nil {
		return
	}
	if c.KeyID != "" {
		f(c)
	}
	c.Issued.each(f)
	c.Imported.each(f)
	for i := range c.Results {
		c.Results[i].each(f)
	}
}

// forget forgets the keys that the request named and those that its answer names. The position is what the upstream
// said of the change's position in its feed; 0: nothing.
func (p *passing) forget(answer *created, position uint64) {
	for _, keyID := range p.change.keyIDs {
		p.upstream.Forget(p.network, keyID, position)
	}
	answer.each(func(key *created) { p.upstream.Forget(p.network, key.KeyID, position) })
}

// forgetLineage forgets the keys that an answer's header names, and notes them. Where there may be others, or an
// upstream that may know of lineages does not say which keys it has revoked, it forgets every key.
func (p *passing) forgetLineage(resp *http.Response, position uint64) {
	if !p.change.lineage {
		return
	}
	header := resp.Header.Get(client.ChangedKeysHeader)
	if header == "" && resp.StatusCode >= 400 && resp.StatusCode < 500 {
		return // it was refused
	}
	ids := strings.Split(header, ",")
	if slices.ContainsFunc(ids, func(id string) bool { return !core.ValidKeyID(id) }) {
		p.upstream.ForgetAll(position)
		return
	}
	for _, id := range ids {
		p.upstream.Forget(p.network, id, position)
		if !slices.Contains(p.change.keyIDs, id) {
			p.change.others = append(p.change.others, id)
		}
	}
}

// record writes the change to the audit log: a line for the key that the request named, or else one for each key that
// the answer names.
func (p *passing) record(answer *created) {
	if !p.change.isOne() {
		return
	}
	c := adminapi.Change{Network: p.network, Reason: p.change.reason}
	if p.op == nil || p.op.Changes&adminapi.ChangesKey != 0 {
		c.KeyID = p.change.keyIDs[len(p.change.keyIDs)-1] // as verdicts name it
		answer.each(func(key *created) {
			c.ActorID = key.ActorID
			if p.change.creates && key.KeyID != c.KeyID {
				c.NewKeyID = key.KeyID
			}
		})
		p.options.Record(p.caller, p.op, &c)
		for _, id := range p.change.others {
			p.options.Record(p.caller, p.op, &adminapi.Change{KeyID: id, Network: p.network, Reason: p.change.reason})
		}
		return
	}
	named := false
	answer.each(func(key *created) {
		named = true
		c.KeyID, c.ActorID, c.Repeated = key.KeyID, key.ActorID, answer.Issued != nil && !bool(answer.Secret)
		p.options.Record(p.caller, p.op, &c)
	})
	if !named { // it is not the API's answer
		if len(p.change.keyIDs) == 1 {
			c.KeyID = p.change.keyIDs[0]
		}
		p.options.Record(p.caller, p.op, &c)
	}
}
