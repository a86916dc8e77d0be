package adminapi

import (
	"net/http"

	"github.com/talos-edge/talos-edge/core"
)

// PublicOptions say what the public surface serves.
type PublicOptions struct {
	Options

	// Health also serves /health/alive and /health/ready, the latter without saying what failed.
	Health bool

	// Limiter bounds the failed self-revocations of each address. Surfaces that share one count together, also across
	// reloads of a configuration. nil: one of its own.
	Limiter *FailureLimiter
}

// Public is the surface for everybody: self-revocation and the key set of derived tokens.
type Public struct {
	surface
	health  bool
	limiter *FailureLimiter
}

// NewPublic makes a public surface.
func NewPublic(o PublicOptions) *Public {
	p := &Public{surface: newSurface(o.Options), health: o.Health, limiter: o.Limiter}
	if p.limiter == nil {
		p.limiter = NewFailureLimiter()
	}
	return p
}

// Answers reports whether a public surface answers a request, see [Public.Serve].
func (o *PublicOptions) Answers(r *http.Request) bool {
	route, _ := Find(PlainPath(r))
	return route.isPublic(o.Health) || IsAdminPath(r.URL)
}

// Serve answers a request for one of the surface's own paths, and with 404 one for a path of the private surface,
// however it is spelled. Any other request it leaves alone and returns false.
func (p *Public) Serve(w http.ResponseWriter, r *http.Request) (handled bool) {
	route, _ := Find(PlainPath(r))
	if !route.isPublic(p.health) {
		if !IsAdminPath(r.URL) {
			return false
		}
		route = nil
	}
	op, err := route.find(w, r.Method)
	switch {
	case err != nil:
	case op.Path == selfRevokePath:
		err = p.limited(w, r, op)
	default:
		err = p.serve(w, r, op, "")
	}
	if err != nil {
		p.fail(w, r, op, err)
	}
	return true
}

// isPublic reports whether a route is on a public surface, with or without health.
func (t *Route) isPublic(health bool) bool {
	if t == nil {
		return false
	}
	op := t.operations[0]
	return op.public && (health || !op.health)
}

// limited revokes the key behind a credential, unless the caller's address has failed too often. Every answer that the
// caller is to blame for counts as a failure.
func (p *Public) limited(w http.ResponseWriter, r *http.Request, op *Operation) error {
	n, err := p.network(r)
	if err != nil {
		return err // no credential was looked at
	}
	addr := p.ClientAddr(r)
	if wait, ok := p.limiter.take(n.ID, addr); !ok {
		return &httpError{
			cause: core.NewError(core.TooManyRequests, "too many failed attempts from this address; "+
				"try again after the time in Retry-After"),
			retryAfter: wait,
		}
	}
	err = p.serveIn(w, r, op, n, "")
	if err == nil || StatusOf(core.ReasonOf(err)) >= http.StatusInternalServerError {
		p.limiter.giveBack(n.ID, addr)
	}
	return err
}
