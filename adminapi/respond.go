package adminapi

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
)

// encodingFailed is the body of the answer that could not be encoded.
const encodingFailed = `{"error":{"code":500,"message":"` + internalMessage + `",` +
	`"status":"INTERNAL","details":[{"@type":"` + client.ErrorInfoType + `","reason":"` + string(core.Internal) +
	`","domain":"` + client.ErrorDomain + `"}]}}` + "\n"

// writeJSON answers with a JSON body. No answer may be kept by a cache or guessed to be of another type.
func writeJSON(w http.ResponseWriter, status int, value any) {
	b := body.TakeBuffer()
	defer body.GiveBuffer(b)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		// Only raw JSON can fail, and that was valid when it was stored.
		status = http.StatusInternalServerError
		b.Reset()
		_, _ = b.WriteString(encodingFailed)
	}
	if h := w.Header(); h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	writeBody(w, status, b.Bytes())
}

// writeBody answers with a JSON text. Whether it may be kept by a cache is the caller's to say.
func writeBody(w http.ResponseWriter, status int, text []byte) {
	h := w.Header()
	h.Set("Content-Type", body.JSONType)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(text) // a caller that went away reads nothing
}
