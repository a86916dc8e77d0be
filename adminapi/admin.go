package adminapi

import (
	"errors"
	"net/http"

	"github.com/talos-edge/talos-edge/core"
)

// Admin serves the private surface: every call of the API. It asks nobody for a credential; whoever reaches it may do
// everything, so the listener it stands on must let only operators in. Whatever is not a path of the API is answered
// with 404, a method that a path does not take with 405.
func Admin(o Options) http.Handler { return &adminHandler{newSurface(o)} }

type adminHandler struct{ surface }

// ServeHTTP answers every request.
func (h *adminHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op, keyID := adminRoute(plainPath(r))
	if err := h.serve(w, r, op, keyID); err != nil {
		h.fail(w, r, op, err)
	}
}

func (h *adminHandler) serve(w http.ResponseWriter, r *http.Request, op operation, keyID string) error {
	if op == noOperation {
		return errNoPath()
	}
	if err := checkMethod(w, r, op); err != nil {
		return err
	}
	switch op {
	case opAlive:
		return alive(w)
	case opReady:
		return h.ready(w, r, true)
	default:
	}
	n, err := h.network(r)
	if err != nil {
		return err
	}
	switch op {
	case opIssue:
		return issue(w, r, n)
	case opGetIssued:
		return getKey(w, r, n, core.Issued, keyID)
	case opRevokeIssued:
		return revoke(w, r, n, core.Issued, keyID)
	case opRevokeAny:
		return revoke(w, r, n, core.AnyKind, keyID)
	case opVerify:
		return h.verify(w, r, n)
	case opBatchVerify:
		return h.batchVerify(w, r, n)
	case opSelfRevoke:
		return h.selfRevoke(w, r, n)
	case opJWKS:
		return h.jwks(w, r)
	default:
		return errNoPath()
	}
}

// network finds the network of a request.
func (s *surface) network(r *http.Request) (Network, error) {
	n, err := s.Network(r)
	if err == nil {
		return n, nil
	}
	if _, ok := errors.AsType[*core.Error](err); ok {
		return Network{}, err
	}
	return Network{}, core.WrapError(core.NotFound, "no network is served under this host", err)
}
