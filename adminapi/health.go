package adminapi

import (
	_ "embed" // the document
	"net/http"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

func alive(_ *surface, w http.ResponseWriter, _ *http.Request, _ Network, _ string) error {
	writeJSON(w, http.StatusOK, client.Health{Status: "ok"})
	return nil
}

// ready reports whether the storage answers. Only operators are told what failed.
func ready(s *surface, w http.ResponseWriter, r *http.Request, _ Network, _ string) error {
	err := s.Ready(r.Context())
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, client.Health{Status: "ok"})
		return nil
	case s.private:
		return &httpError{cause: core.WrapError(core.Unavailable, "not ready: "+err.Error(), err), shown: true}
	default:
		return core.WrapError(core.Unavailable, "not ready", err)
	}
}

// jwks answers with the keys that derived tokens verify with. They are the same for everybody, who may cache them for a
// minute.
func jwks(_ *surface, w http.ResponseWriter, r *http.Request, n Network, _ string) error {
	set, err := n.holders().KeySet(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "public, max-age=60")
	writeJSON(w, http.StatusOK, set)
	return nil
}

// openAPIDocument describes the API (OpenAPI 3.0.3).
//
//go:embed openapi.json
var openAPIDocument []byte

// openAPI answers with the description of the API.
func openAPI(_ *surface, w http.ResponseWriter, _ *http.Request, _ Network, _ string) error {
	w.Header().Set("Cache-Control", "no-store")
	writeBody(w, http.StatusOK, openAPIDocument)
	return nil
}
