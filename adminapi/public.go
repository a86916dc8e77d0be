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
func NewPublic(o PublicOptions) *Public { return newPublic(newSurface(o.Options), &o) }

func newPublic(s surface, o *PublicOptions) *Public {
	p := &Public{surface: s, health: o.Health, limiter: o.Limiter}
	if p.limiter == nil {
		p.limiter = NewFailureLimiter()
	}
	return p
}

// Serve answers a request for one of the surface's own paths, and with 404 one for a path of the private surface,
// however it is spelled. Any other request it leaves alone and returns false.
func (p *Public) Serve(w http.ResponseWriter, r *http.Request) (handled bool) {
	on := sharedRoute(plainPath(r))
	if !p.health && (on.get == opAlive || on.get == opReady) {
		on = verbs{}
	}
	if !on.exist() && !IsAdminPath(r.URL) {
		return false
	}
	op, err := on.of(w, r.Method)
	if err == nil {
		err = p.serve(w, r, op)
	}
	if err != nil {
		p.fail(w, r, op, err)
	}
	return true
}

func (p *Public) serve(w http.ResponseWriter, r *http.Request, op operation) error {
	switch op {
	case opAlive:
		return alive(w)
	case opReady:
		return p.ready(w, r, false)
	case opJWKS:
		n, err := p.network(r)
		if err != nil {
			return err
		}
		return p.jwks(w, r, n)
	case opSelfRevoke:
		return p.limited(w, r)
	default:
		return errNoPath()
	}
}

// limited revokes the key behind a credential, unless the caller's address has failed too often. Every answer that the
// caller is to blame for counts as a failure.
func (p *Public) limited(w http.ResponseWriter, r *http.Request) error {
	addr := p.ClientAddr(r)
	if wait, ok := p.limiter.take(addr); !ok {
		return &httpError{
			cause:      core.NewError(core.TooManyRequests, "too many failed attempts from this address"),
			retryAfter: wait,
		}
	}
	n, err := p.network(r)
	if err == nil {
		err = p.selfRevoke(w, r, n)
	}
	if err == nil || StatusOf(core.ReasonOf(err)) >= http.StatusInternalServerError {
		p.limiter.giveBack(addr)
	}
	return err
}
