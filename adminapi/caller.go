package adminapi

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// caller is who a verification is for: a caller at an address, or an edge that asks for many and judges by itself what
// depends on them.
type caller struct {
	addr netip.Addr
	edge bool

	position uint64 // of an edge: the feed position before its question

	sidecar *sidecar          // nil: the keys are this node's own
	limiter ratelimit.Limiter // nil: limits are not enforced
	logger  *zap.Logger
}

// callerOf is made before anything is looked up: what the verifier says of a key from then on, remembered or not,
// knows of every change up to the place that the feed is at now.
func (s *surface) callerOf(r *http.Request, n Network) *caller {
	a := &caller{addr: s.ClientAddr(r), edge: isEdge(r), sidecar: s.sidecar, logger: s.Logger}
	switch {
	case !a.edge: // an edge counts for itself
		a.limiter = s.RateLimiter
	case a.sidecar == nil:
		a.position = n.Keys.Applied()
	}
	return a
}

// isEdge tells whether an edge asks.
func isEdge(r *http.Request) bool { return r.Header.Get(client.EdgeHeader) == "1" }

// errStaleForEdge is an edge's answer in place of a stale verdict: it would take it for a fresh one and, when that has
// grown old, serve it stale once more. It has a stale window of its own.
var errStaleForEdge = core.NewError(core.Unavailable, "only a stale verdict is known")

// Bounds of what is asked again for a caller, of one batch.
const (
	maxAgain     = 16               // at once
	againTimeout = 10 * time.Second // for all of it
)

// settle replaces the results that this caller cannot have as they are. There is one for each credential.
func (a *caller) settle(ctx context.Context, n Network, credentials []string, results []verify.Result) {
	if a.sidecar != nil {
		a.askAgain(ctx, n, credentials, results)
	}
	for i := range results {
		if r := &results[i]; a.edge && r.Err == nil && r.Cache == verify.Stale {
			*r = verify.Result{Err: errStaleForEdge}
		}
	}
}

// askAgain asks the upstream, for this caller's address, about what it has judged by the sidecar's: side by side, under
// one deadline.
func (a *caller) askAgain(ctx context.Context, n Network, credentials []string, results []verify.Result) {
	ctx, cancel := context.WithTimeout(ctx, againTimeout)
	defer cancel()
	var asking sync.WaitGroup
	turns := make(chan struct{}, maxAgain)
	for i := range results {
		r := &results[i]
		if r.Err != nil || r.Verdict == nil || r.Verdict.Code != core.CodeIPNotAllowed {
			continue
		}
		turns <- struct{}{}
		asking.Go(func() {
			defer func() { <-turns }()
			a.again(ctx, n, credentials[i], r)
		})
	}
	asking.Wait()
}

// again asks the upstream about one credential.
func (a *caller) again(ctx context.Context, n Network, credential string, result *verify.Result) {
	v, err := a.sidecar.upstream.VerifyFor(ctx, n.ID, credential, a.addr)
	if err != nil {
		*result = verify.Result{Err: err}
		return
	}
	result.Verdict, result.Now = v, time.Now()
}

// mark tells an edge that the key alone was judged, and the position that holds for the whole answer.
func (a *caller) mark(w http.ResponseWriter) {
	if a.edge {
		markEdge(w.Header(), a.position)
	}
}

// withoutList is a verdict that holds from anywhere.
func withoutList(v *core.Verdict) *core.Verdict {
	anywhere := *v
	anywhere.AllowedCIDRs = nil
	return &anywhere
}
