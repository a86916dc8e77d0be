package adminapi

import (
	_ "embed" // the document
	"net/http"
)

// openAPIDocument describes the API (OpenAPI 3.0.3).
//
//go:embed openapi.json
var openAPIDocument []byte

// openAPI answers with the description of the API.
func openAPI(w http.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-store")
	writeBody(w, http.StatusOK, openAPIDocument)
	return nil
}
