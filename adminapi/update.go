package adminapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

// updateBody is the body of an update in both of its forms: the key's fields, or an object that holds them under the
// name of the kind of key.
type updateBody struct {
	updateFields
	Issued   *updateFields `json:"issued_api_key"`
	Imported *updateFields `json:"imported_api_key"`
}

type updateFields struct {
	KeyID string `json:"key_id"`
	client.UpdateRequest
}

func updateKey(w http.ResponseWriter, r *http.Request, n Network, kind core.Kind, keyID string) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	var in updateBody
	if err := body.Decode(w, r, maxBody, &in); err != nil {
		return err
	}
	fields, err := in.fields(kind, keyID)
	if err != nil {
		return err
	}
	request, err := updateRequest(fields, readMask(q))
	if err != nil {
		return err
	}
	key, err := n.Keys.Update(r.Context(), kind, keyID, request)
	if err != nil {
		return err
	}
	writeRecord(w, &key)
	return nil
}

// fields finds the fields of the key in whichever form they are, and refuses a body that is about another key.
func (b *updateBody) fields(kind core.Kind, keyID string) (*updateFields, error) {
	const issued, imported = "issued_api_key", "imported_api_key"
	wrapped, name, other, otherName := b.Issued, issued, b.Imported, imported
	if kind == core.Imported {
		wrapped, name, other, otherName = b.Imported, imported, b.Issued, issued
	}
	if other != nil { // passed over, it would leave fields of the mask empty, and so clear them
		return nil, core.NewError(core.BadRequest, otherName+": the key in the path is of the other kind; send "+name)
	}
	if wrapped == nil {
		wrapped = &b.updateFields
	} else if len(present(&b.UpdateRequest)) > 0 {
		return nil, core.NewError(core.BadRequest,
			name+": a field of the key is beside it; send all fields in it, or all of them without it")
	}
	for _, id := range []string{b.KeyID, wrapped.KeyID} {
		if id != "" && id != keyID {
			return nil, core.NewError(core.BadRequest, "key_id: differs from the key id in the path; leave it out")
		}
	}
	return wrapped, nil
}

// readMask returns the paths of an update mask; nil when there is none.
func readMask(q query) []string {
	mask := strings.Join(q["update_mask"], ",")
	if mask == "" {
		return nil
	}
	paths := strings.Split(mask, ",")
	for i := range paths {
		paths[i] = strings.TrimSpace(paths[i])
	}
	return paths
}

// present returns the paths of the fields that a body holds. null means absent, as everywhere in the API: only
// what is there and empty clears a field.
func present(in *client.UpdateRequest) (paths []string) {
	if in.Name != nil {
		paths = append(paths, engine.PathName)
	}
	if in.Scopes != nil {
		paths = append(paths, engine.PathScopes)
	}
	if hasObject(in.Metadata) {
		paths = append(paths, engine.PathMetadata)
	}
	if in.RateLimitPolicy != nil {
		paths = append(paths, engine.PathRateLimit)
	}
	if in.IPRestriction != nil {
		paths = append(paths, engine.PathCIDRs)
	}
	return paths
}

func hasObject(raw json.RawMessage) bool { return len(raw) > 0 && !bytes.Equal(raw, []byte("null")) }

// updateRequest takes over what a mask names or, without one, what the body holds.
func updateRequest(in *updateFields, mask []string) (engine.UpdateRequest, error) {
	out := engine.UpdateRequest{Mask: mask, Scopes: in.Scopes, Metadata: in.Metadata}
	if mask == nil {
		out.Mask = present(&in.UpdateRequest)
	}
	if in.Name != nil {
		out.Name = *in.Name
	}
	var err error
	if out.RateLimit, err = parsePolicy(in.RateLimitPolicy); err != nil {
		return out, err
	}
	out.AllowedCIDRs, err = parseRestriction(in.IPRestriction)
	return out, err
}

func rotate(_ *surface, w http.ResponseWriter, r *http.Request, n Network, keyID string) error {
	if _, err := changeQuery(r); err != nil {
		return err
	}
	var in client.RotateRequest
	if err := body.Decode(w, r, maxBody, &in); err != nil {
		return err
	}
	request, err := rotateRequest(&in)
	if err != nil {
		return err
	}
	fresh, old, secret, err := n.Keys.Rotate(r.Context(), keyID, request)
	if err != nil {
		return err
	}
	now := time.Now()
	writeJSON(w, http.StatusOK, &client.RotateResponse{
		IssuedAPIKey: record(&fresh, now), Secret: secret, OldIssuedAPIKey: record(&old, now),
	})
	return nil
}

// rotateRequest takes over the fields that the body holds; the new key inherits the others.
func rotateRequest(in *client.RotateRequest) (out engine.RotateRequest, err error) {
	if out.Visibility, err = parseVisibility(in.Visibility); err != nil {
		return out, err
	}
	if in.Grace != "" {
		if out.Grace, err = core.ParseDuration(in.Grace); err != nil {
			return out, core.NewError(core.BadRequest, "grace: "+err.Error())
		}
	}
	out.Name = in.Name
	if in.Scopes != nil {
		out.Scopes = &in.Scopes
	}
	if hasObject(in.Metadata) {
		out.Metadata = &in.Metadata
	}
	if in.RateLimitPolicy != nil {
		limit, err := parsePolicy(in.RateLimitPolicy)
		if err != nil {
			return out, err
		}
		out.RateLimit = &limit
	}
	if in.IPRestriction != nil {
		var list []netip.Prefix
		if list, err = parseRestriction(in.IPRestriction); err != nil {
			return out, err
		}
		out.AllowedCIDRs = &list
	}
	return out, nil
}
