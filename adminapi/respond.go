package adminapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

// maxKept is the capacity up to which a buffer is kept for the next request, in bytes.
const maxKept = 64 << 10

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func takeBuffer() *bytes.Buffer {
	b := buffers.Get().(*bytes.Buffer) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	b.Reset()
	return b
}

// giveBuffer keeps a buffer for the next request. What was in it is wiped: it may have been a credential.
func giveBuffer(b *bytes.Buffer) {
	if b.Cap() > maxKept {
		return
	}
	clear(b.Bytes())
	buffers.Put(b)
}

// encodingFailed is the body of the answer that could not be encoded.
const encodingFailed = `{"error":{"code":500,"message":"the server failed to answer this request",` +
	`"status":"INTERNAL","details":[{"@type":"` + client.ErrorInfoType + `","reason":"` + string(core.Internal) +
	`","domain":"` + client.ErrorDomain + `"}]}}` + "\n"

// writeJSON answers with a JSON body. No answer may be kept by a cache or guessed to be of another type.
func writeJSON(w http.ResponseWriter, status int, body any) {
	b := takeBuffer()
	defer giveBuffer(b)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
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
func writeBody(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", jsonType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller that went away reads nothing
}
