package engine

import (
	"context"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// MaxImports is how many keys can be imported at once.
const MaxImports = 1000

// ImportRequest asks to take up a key that was made elsewhere. It gets what an issued key gets.
type ImportRequest struct {
	RawKey string // 1 to credential.MaxImportedLength bytes; it is not stored
	IssueRequest
}

// ImportResult is what came of one key of several.
type ImportResult struct {
	Key core.Key
	Err error
}

// Import takes up a key. One that the network has already is [core.KeyExists], unless the request has the RequestID of
// the call that imported it: then it is returned as it is. A request that is not well formed, or whose raw key would
// never be looked up as an imported one, is [core.BadRequest]; a full quota is [core.KeyQuotaExceeded].
func (e *Engine) Import(ctx context.Context, r ImportRequest) (core.Key, error) {
	key, err := e.importedKey(&r)
	if err != nil {
		return core.Key{}, err
	}
	stored, created, err := e.create(ctx, key)
	return importOutcome(&key, core.CreateResult{Key: stored, Created: created, Err: err})
}

// ImportMany takes up 1 to [MaxImports] keys in one transaction, each judged alone: the results are in the order of the
// requests, and a key that is in them twice fails the second time. An error means that nothing was imported.
func (e *Engine) ImportMany(ctx context.Context, requests []ImportRequest) ([]ImportResult, error) {
	if len(requests) == 0 || len(requests) > MaxImports {
		return nil, badRequest("requests: 1 to %d keys can be imported at once", MaxImports)
	}
	results := make([]ImportResult, len(requests))
	keys := make([]core.Key, 0, len(requests))
	places := make([]int, 0, len(requests)) // of keys, in results
	for i := range requests {
		key, err := e.importedKey(&requests[i])
		if err != nil {
			results[i].Err = err
			continue
		}
		keys, places = append(keys, key), append(places, i)
	}
	if len(keys) == 0 {
		return results, nil
	}
	outcomes, err := e.createMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	imported := make(map[string]bool, len(keys))
	for i, outcome := range outcomes {
		r := &results[places[i]]
		if r.Key, r.Err = importOutcome(&keys[i], outcome); r.Err != nil {
			continue
		}
		if imported[r.Key.ID] { // by an earlier one with the same request id
			*r = ImportResult{Err: errImported()}
			continue
		}
		imported[r.Key.ID] = true
	}
	return results, nil
}

// importedKey makes the record of a key that is to be imported.
func (e *Engine) importedKey(r *ImportRequest) (core.Key, error) {
	id, err := e.importedID(r.RawKey)
	if err != nil {
		return core.Key{}, err
	}
	return e.newKey(&r.IssueRequest, core.Imported, id, now())
}

// importedID is the id of an imported key. A raw key that verification would take for another kind of credential is
// refused: as an imported key it would never be found.
func (e *Engine) importedID(rawKey string) (string, error) {
	switch {
	case rawKey == "":
		return "", badRequest("raw_key: is required")
	case len(rawKey) > credential.MaxImportedLength:
		return "", badRequest("raw_key: must not be longer than %d bytes", credential.MaxImportedLength)
	case credential.Check(rawKey) != nil:
		return "", badRequest("raw_key: must be UTF-8 text without NUL")
	}
	const never = "raw_key: has the form of %s, and would always be verified as one: it cannot be imported"
	p := e.format.Parse(rawKey)
	switch p.Kind {
	case credential.Imported:
		return p.KeyID, nil
	case credential.Issued:
		return "", badRequest(never, "a key that this server issues")
	case credential.Macaroon:
		return "", badRequest(never, "a macaroon that this server derives")
	case credential.JWT:
		return "", badRequest(never, "a JWT")
	default:
		return "", badRequest(never, "another credential")
	}
}

// importOutcome gives the store's answer the meaning that it has for an import.
func importOutcome(asked *core.Key, r core.CreateResult) (core.Key, error) {
	switch {
	case r.Err != nil && core.ReasonOf(r.Err) == core.Conflict:
		return core.Key{}, errImported()
	case r.Err != nil:
		return core.Key{}, r.Err
	case !r.Created && r.Key.ID != asked.ID:
		return core.Key{}, core.NewError(core.Conflict, "request_id: was used to import another key")
	}
	return r.Key, nil
}

func errImported() error { return core.NewError(core.KeyExists, "this key has been imported already") }
