package httpcred

import (
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/talos-edge/talos-edge/adminapi/httpcred/headername"
)

// mustStay are headers of requests that a prefix of identity headers must not cover: they would be stripped.
var mustStay = []string{
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Access-Control-Request-Headers",
	"Access-Control-Request-Method", "Authorization", "Cache-Control", "Connection", "Content-Disposition",
	"Content-Encoding", "Content-Language", "Content-Length", "Content-Location", "Content-Type", "Cookie",
	"Date", "Early-Data", "Expect", "Forwarded", "From", "Host", "If-Match", "If-Modified-Since",
	"If-None-Match", "If-Range", "If-Unmodified-Since", "Idempotency-Key", "Keep-Alive", "Last-Event-ID",
	"Max-Forwards", "Origin", "Pragma", "Prefer", "Priority", "Proxy-Authorization", "Proxy-Connection",
	"Range", "Referer", "Sec-Fetch-Mode", "Sec-Websocket-Key", "Te", "Traceparent", "Tracestate", "Trailer",
	"Transfer-Encoding", "Upgrade", "User-Agent", "Via", "X-Forwarded-For", "X-Forwarded-Host",
	"X-Forwarded-Proto", "X-Real-Ip", "X-Request-Id", "X-Requested-With",
}

// Filter strips from every request what a client could pass off as the gate's own word: headers under a prefix of
// identity headers, and other spellings of the headers that hold credentials. It is safe for concurrent use.
type Filter struct {
	prefixes []string  // of identity headers, canonical
	headers  []string  // of the credentials, canonical
	aliased  []string  // those of them that have another spelling
	lead     [256]bool // the bytes that a name to remove can begin with; most names end here
}

// NewFilter makes a filter for headers that hold credentials ([Reader.Headers]) and prefixes of identity headers, such
// as [DefaultPrefix]; all in any case. A prefix ends in a hyphen; one that covers a credential's header, or a header
// that requests need, is an error.
func NewFilter(headers []string, prefixes ...string) (*Filter, error) {
	h := &Filter{}
	for _, name := range headers {
		h.headers = append(h.headers, textproto.CanonicalMIMEHeaderKey(name))
	}
	for _, prefix := range prefixes {
		prefix, err := canonicalPrefix(prefix)
		if err != nil {
			return nil, err
		}
		h.prefixes = append(h.prefixes, prefix)
		for _, name := range mustStay {
			if headername.FoldedPrefix(name, prefix) {
				return nil, fmt.Errorf("the prefix %q would strip the header %s of every request", prefix, name)
			}
		}
	}
	for _, name := range h.headers {
		for _, prefix := range h.prefixes {
			if headername.FoldedPrefix(name, prefix) {
				return nil, fmt.Errorf("the prefix %q covers the header %s, which holds the credential", prefix, name)
			}
		}
		if !headername.IsPlain(name) {
			h.aliased = append(h.aliased, name)
		}
	}
	for _, name := range slices.Concat(h.prefixes, h.aliased) {
		for c := range h.lead {
			if headername.FoldedPrefix(string([]byte{byte(c)}), name[:1]) {
				h.lead[c] = true
			}
		}
	}
	return h, nil
}

// Prefixes are the prefixes of identity headers, in canonical form.
func (h *Filter) Prefixes() []string { return h.prefixes }

// isIdentity says whether a backend might read a header of this name as an identity header.
func (h *Filter) isIdentity(name string) bool {
	for _, prefix := range h.prefixes {
		if headername.FoldedPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// isAlias says whether a header's name is another spelling of one that holds a credential.
func (h *Filter) isAlias(name string) bool {
	for _, header := range h.aliased {
		if len(name) == len(header) && name != header && headername.FoldedPrefix(name, header) {
			return true
		}
	}
	return false
}

// hides says whether a header of this name must not pass.
func (h *Filter) hides(name string) bool {
	return h.isIdentity(name) || h.isAlias(name)
}

// Strip removes from a request all that a client could pass off as the gate's own word: headers, their names in
// Connection, and trailers, also those that come after the body.
func (h *Filter) Strip(r *http.Request) {
	for name := range r.Header {
		if name != "" && h.lead[name[0]] && h.hides(name) {
			delete(r.Header, name)
		}
	}
	// A proxy drops the headers that Connection names (RFC 9110, section 7.6.1). It must not drop ours.
	if lines := r.Header["Connection"]; len(lines) > 0 {
		h.stripConnection(r.Header, lines)
	}
	if r.Trailer != nil {
		h.stripTrailer(r)
	}
}

// stripConnection takes names that must not pass out of the Connection header. Most requests have none there.
func (h *Filter) stripConnection(header http.Header, lines []string) {
	found := false
	for _, line := range lines {
		for token := range strings.SplitSeq(line, ",") {
			found = found || h.hides(textproto.TrimString(token))
		}
	}
	if !found {
		return
	}
	var kept []string
	for _, line := range lines {
		for token := range strings.SplitSeq(line, ",") {
			if token = textproto.TrimString(token); token != "" && !h.hides(token) {
				kept = append(kept, token)
			}
		}
	}
	if len(kept) == 0 {
		delete(header, "Connection")
		return
	}
	header["Connection"] = []string{strings.Join(kept, ", ")}
}

// stripTrailer keeps trailers from bringing what headers may not: a backend may fold the two together. A request's
// trailers come after its body, announced or not, into the map that it has from the beginning; one without a map gets
// none.
func (h *Filter) stripTrailer(r *http.Request) {
	h.filterTrailer(r.Trailer)
	if len(r.Trailer) == 0 {
		r.Trailer = nil
		return
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &trailerFilter{ReadCloser: r.Body, trailer: r.Trailer, filter: h}
	}
}

func (h *Filter) filterTrailer(trailer http.Header) {
	for name := range trailer {
		// A credential has no business in a trailer, in any spelling.
		if h.hides(name) || slices.Contains(h.headers, name) {
			delete(trailer, name)
		}
	}
}

// trailerFilter is the body of a request with trailers. It looks through them when they have come: in the Read that
// reaches the end, before whoever reads the body sees that end.
type trailerFilter struct {
	io.ReadCloser
	trailer http.Header
	filter  *Filter
}

func (b *trailerFilter) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.filter.filterTrailer(b.trailer)
	}
	return n, err //nolint:wrapcheck // a reader's error is compared with io.EOF
}
