package adminapi

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// asker is who a verification is for: a caller at an address, or an edge that asks for many and judges by itself what
// depends on them.
type asker struct {
	addr netip.Addr
	edge bool

	position uint64 // the smallest of the results
	answered bool   // there was one

	sidecar *sidecar // nil: the keys are this node's own
}

func (s *surface) asker(r *http.Request) *asker {
	return &asker{addr: s.ClientAddr(r), edge: isEdge(r), sidecar: s.sidecar}
}

// isEdge tells whether an edge asks.
func isEdge(r *http.Request) bool { return r.Header.Get(client.EdgeHeader) == "1" }

// errStaleForEdge is an edge's answer in place of a stale verdict: it would take it for a fresh one and, when that has
// grown old, serve it stale once more. It has a stale window of its own.
var errStaleForEdge = core.NewError(core.Unavailable, "only a stale verdict is known")

// settle replaces a result that this caller cannot have as it is.
func (a *asker) settle(ctx context.Context, n Network, credential string, result *verify.Result) {
	if result.Err != nil || result.Verdict == nil {
		return
	}
	switch {
	case a.edge && result.Cache == verify.Stale:
		*result = verify.Result{Err: errStaleForEdge}
		return
	case a.sidecar != nil && result.Verdict.Code == core.CodeIPNotAllowed:
		// that was said about our own address
		v, err := a.sidecar.upstream.VerifyFor(ctx, n.ID, credential, a.addr)
		if err != nil {
			*result = verify.Result{Err: err}
			return
		}
		result.Verdict, result.Now = v, time.Now()
	}
	if !a.answered || result.Position < a.position {
		a.position, a.answered = result.Position, true
	}
}

// mark tells an edge that the key alone was judged, and the position that holds for the whole answer; 0 when no key
// had to be looked at.
func (a *asker) mark(w http.ResponseWriter) {
	if !a.edge {
		return
	}
	h := w.Header()
	h.Set(client.EdgeHeader, "1")
	h.Set(client.PositionHeader, strconv.FormatUint(a.position, 10))
}

// withoutList is a verdict that holds from anywhere.
func withoutList(v *core.Verdict) *core.Verdict {
	anywhere := *v
	anywhere.AllowedCIDRs = nil
	return &anywhere
}
