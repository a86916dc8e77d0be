package adminapi

import (
	_ "embed" // the document
	"net/http"
	"strconv"
)

// openAPIDocument describes the API (OpenAPI 3.0.3).
//
//go:embed openapi.json
var openAPIDocument []byte

// openAPI answers with the description of the API.
func openAPI(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Content-Type", jsonType)
	h.Set("Content-Length", strconv.Itoa(len(openAPIDocument)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(openAPIDocument) // a caller that went away reads nothing
	return nil
}
