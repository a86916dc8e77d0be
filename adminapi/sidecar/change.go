package sidecar

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
)

// change is what a request that passes may do to keys.
type change struct {
	keyIDs  []string // known from the request
	creates bool     // the answer names keys that came to be
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

// classify finds out what a request may change. One that may change something, without a word of which key, does not
// pass: the sidecar would go on believing what it has cached.
func (p *passing) classify(
	w http.ResponseWriter, r *http.Request, op *adminapi.Operation, keyID string, content []byte,
) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return nil
	case http.MethodPost, http.MethodPatch, http.MethodDelete:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, PATCH, DELETE")
		return core.NewError(adminapi.MethodNotAllowed, "this method is not one of the API")
	}
	if op == nil { // of another implementation, or of a later version
		var below bool
		if keyID, below = adminapi.KeyInPath(r.URL.Path); !below || keyID == "" {
			return core.NewError(core.NotFound, "there is nothing at this path")
		}
		p.change = change{keyIDs: spellings(keyID), creates: true} // it may name a successor of the key
		return nil
	}
	if op.Changes&adminapi.ChangesKey != 0 {
		p.change.keyIDs = spellings(keyID)
	}
	p.change.creates = op.Changes&adminapi.CreatesKeys != 0
	if op.Changes&adminapi.ImportsKeys != 0 {
		return p.identifyImports(content)
	}
	return nil
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
		if q, _ := p.sidecar.upstream.Prepare(p.network, item.RawKey); q.KeyID != "" {
			p.change.keyIDs = append(p.change.keyIDs, q.KeyID)
		}
	}
	return nil
}

// spellings are a key id as it stands in a path, and as verdicts name the key that servers may take it for: ids are in
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

// created is what is read of the answer to a call that makes keys.
type created struct {
	KeyID    string    `json:"key_id"`
	Issued   *created  `json:"issued_api_key"`
	Imported *created  `json:"imported_api_key"`
	Results  []created `json:"results"`
}

func (c *created) each(f func(keyID string)) {
	if c == nil {
		return
	}
	if c.KeyID != "" {
		f(c.KeyID)
	}
	c.Issued.each(f)
	c.Imported.each(f)
	for i := range c.Results {
		c.Results[i].each(f)
	}
}

// forget forgets the keys that the request named and those that its answer names. The position is what the upstream
// told of the change's position in its feed; 0: nothing.
func (p *passing) forget(answer []byte, position uint64) {
	forget := func(keyID string) { p.sidecar.upstream.Forget(p.network, keyID, position) }
	for _, keyID := range p.change.keyIDs {
		forget(keyID)
	}
	var c created
	if len(answer) > 0 && json.Unmarshal(answer, &c) == nil {
		c.each(forget)
	}
}
