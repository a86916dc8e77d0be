package adminapi

import (
	"net/http"
	"strconv"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// placed is the writer of an answer to a change that an edge asked for. The answer names a feed position that is
// not before the change, so that the edge can tell later answers that do not know of it: those of a node that is
// behind.
type placed struct {
	http.ResponseWriter
	applied func() uint64
}

// WriteHeader begins the answer, after the change.
func (p *placed) WriteHeader(status int) {
	markEdge(p.Header(), p.applied())
	p.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (p *placed) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// markEdge tells an edge that it was understood, and the feed position that holds for the answer.
func markEdge(h http.Header, position uint64) {
	h.Set(client.EdgeHeader, "1")
	h.Set(client.PositionHeader, strconv.FormatUint(position, 10))
}
