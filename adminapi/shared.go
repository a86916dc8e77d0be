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

// jwks answers with the keys that derived tokens verify with; those of a sidecar are its upstream's. They are the same
// for everybody and may be kept for a minute.
func (s *surface) jwks(w http.ResponseWriter, r *http.Request, n Network) error {
	var set *client.JWKS
	if s.sidecar != nil {
		var err error
		if set, err = s.sidecar.keySet(r.Context()); err != nil {
			return err
		}
	} else {
		raw, own := n.Keys.JWKS(), client.KeySet{}
		if raw == nil {
			return core.NewError(core.Unavailable, "the key set cannot be read")
		}
		if err := json.Unmarshal(raw, &own); err != nil {
			return core.WrapError(core.Internal, "the key set is not one", err)
		}
		set = &client.JWKS{Keys: own.Keys, JWKS: own}
	}
	w.Header().Set("Cache-Control", "public, max-age=60")
	writeJSON(w, http.StatusOK, set)
	return nil
}
