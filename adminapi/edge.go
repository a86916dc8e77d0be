package adminapi

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// caller is who a verification is for: a caller at an address, or an edge that asks for many and itself judges what
// depends on them.
type caller struct {
	addr netip.Addr
	edge bool

	position uint64 // of an edge: the feed position before its question

	limiter ratelimit.Limiter // nil: limits are not enforced
	rare    *zap.Logger
}

// callerOf is made before anything is looked up: what the verifier says of a key from then on, remembered or not,
// knows of every change up to the feed position of now.
func (s *surface) callerOf(r *http.Request, n Network) *caller {
	a := &caller{addr: s.ClientAddr(r), edge: IsEdge(r), rare: s.rare}
	switch {
	case !a.edge: // an edge counts for itself
		a.limiter = s.RateLimiter
	case n.Keys != nil:
		a.position = n.Keys.Applied()
	}
	return a
}

// IsEdge reports whether an edge asks.
func IsEdge(r *http.Request) bool { return r.Header.Get(client.EdgeHeader) == "1" }

// errStaleForEdge is an edge's answer in place of a stale verdict: it would take it for a fresh one and, when that has
// grown old, serve it stale once more. It has a stale window of its own.
var errStaleForEdge = core.NewError(core.Unavailable, "only a stale verdict is known")

// accept replaces the results that this caller cannot have as they are.
func (a *caller) accept(results []verify.Result) {
	for i := range results {
		if r := &results[i]; a.edge && r.Err == nil && r.Cache == verify.Stale {
			*r = verify.Result{Err: errStaleForEdge}
		}
	}
}

// mark notes for an edge that the key alone was judged, and the position that holds for the whole answer.
func (a *caller) mark(w http.ResponseWriter) {
	if a.edge {
		setPosition(w.Header(), a.position)
	}
}

// withoutList is a verdict that holds from anywhere.
func withoutList(v *core.Verdict) *core.Verdict {
	anywhere := *v
	anywhere.AllowedCIDRs = nil
	return &anywhere
}

// positionWriter writes the response to a change that an edge asked for. The response carries a feed position that is
// not before the change, by which the edge recognizes later responses of a node that does not know of the change yet.
type positionWriter struct {
	http.ResponseWriter
	applied func() uint64
}

// WriteHeader begins the response, after the change.
func (p *positionWriter) WriteHeader(status int) {
	setPosition(p.Header(), p.applied())
	p.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (p *positionWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// maxChangedKeys is how many keys a response names in its header.
const maxChangedKeys = 100

// setChangedKeys names to an edge the keys that were changed and that its request has not named. If they are very many,
// it says that any key may have been.
func setChangedKeys(h http.Header, keys []core.Key) {
	if len(keys) > maxChangedKeys {
		h.Set(client.ChangedKeysHeader, client.AnyKey)
		return
	}
	ids := make([]string, len(keys))
	for i := range keys {
		ids[i] = keys[i].ID
	}
	h.Set(client.ChangedKeysHeader, strings.Join(ids, ","))
}

// setPosition notes for an edge that it was understood, and the feed position that holds for the answer.
func setPosition(h http.Header, position uint64) {
	h.Set(client.EdgeHeader, "1")
	h.Set(client.PositionHeader, strconv.FormatUint(position, 10))
}
