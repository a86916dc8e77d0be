package adminapi

import (
	"encoding/json"
	"net/http"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

func alive(w http.ResponseWriter) error {
	writeJSON(w, http.StatusOK, client.Health{Status: "ok"})
	return nil
}

// ready tells whether the storage answers. Only operators are told what failed.
func (s *surface) ready(w http.ResponseWriter, r *http.Request, detail bool) error {
	err := s.Ready(r.Context())
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, client.Health{Status: "ok"})
		return nil
	case detail:
		return &httpError{cause: core.WrapError(core.Unavailable, "not ready: "+err.Error(), err), shown: true}
	default:
		return core.WrapError(core.Unavailable, "not ready", err)
	}
}

// jwks answers with the keys of derived tokens. This version derives none, so the set of a node is empty; that of a
// sidecar is its upstream's. It is the same for everybody and may be kept for a minute.
func (s *surface) jwks(w http.ResponseWriter, r *http.Request) error {
	none := []json.RawMessage{}
	set := &client.JWKS{Keys: none, JWKS: client.KeySet{Keys: none}}
	if s.sidecar != nil {
		var err error
		if set, err = s.sidecar.keySet(r.Context()); err != nil {
			return err
		}
	}
	w.Header().Set("Cache-Control", "public, max-age=60")
	writeJSON(w, http.StatusOK, set)
	return nil
}
