package gate

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// cacheControlWriter keeps the answer to a credential that shared caches do not know as one (a header of its own, a
// parameter, a cookie) out of them. It does what they would do themselves for Authorization (RFC 9111, section 3.5):
// an answer that does not speak of shared caches is `private`.
type cacheControlWriter struct {
	*caddyhttp.ResponseWriterWrapper
	done bool
}

func newCacheControlWriter(w http.ResponseWriter) *cacheControlWriter {
	return &cacheControlWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
}

// WriteHeader marks the final answer; the informational ones before it are passed on as they are.
func (w *cacheControlWriter) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.mark()
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write marks an answer whose header is sent by its first byte.
func (w *cacheControlWriter) Write(p []byte) (int, error) {
	w.mark()
	return w.ResponseWriterWrapper.Write(p) //nolint:wrapcheck // a writer is transparent
}

// ReadFrom marks an answer and keeps the fast way of copying it.
func (w *cacheControlWriter) ReadFrom(r io.Reader) (int64, error) {
	w.mark()
	return w.ResponseWriterWrapper.ReadFrom(r) //nolint:wrapcheck // a writer is transparent
}

// FlushError marks an answer whose header is sent by a flush.
func (w *cacheControlWriter) FlushError() error {
	w.mark()
	if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	return nil
}

func (w *cacheControlWriter) mark() {
	if w.done {
		return
	}
	w.done = true
	h := w.Header()
	for _, line := range h["Cache-Control"] {
		for directive := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(directive, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "public", "s-maxage", "private", "no-store":
				return
			}
		}
	}
	h["Cache-Control"] = append(h["Cache-Control"], "private")
}

// finish marks an answer that nothing was written of: the server, or an error route, sends its header later.
func finish(w http.ResponseWriter, err error) error {
	if p, ok := w.(*cacheControlWriter); ok {
		p.mark()
	}
	return err
}
