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
	on, keyID := adminRoute(plainPath(r))
	op, err := on.of(w, r.Method)
	if err == nil {
		err = h.serve(w, r, op, func(w http.ResponseWriter, n Network) error {
			return h.manage(w, r, n, op, keyID)
		})
	}
	if err != nil {
		h.fail(w, r, op, err)
	}
}

// manage answers the calls that need the keys themselves.
func (h *adminHandler) manage(w http.ResponseWriter, r *http.Request, n Network, op operation, keyID string) error {
	switch op {
	case opDerive:
		return h.derive(w, r, n)
	case opIssue:
		return issue(w, r, n)
	case opRotate:
		return rotate(w, r, n, keyID)
	case opImport:
		return importKey(w, r, n)
	case opBatchCreate:
		return batchCreate(w, r, n)
	case opDeleteImported:
		return deleteKey(w, r, n, keyID)
	case opListIssued:
		return listKeys(w, r, n, core.Issued)
	case opListImported:
		return listKeys(w, r, n, core.Imported)
	case opGetIssued:
		return getKey(w, r, n, core.Issued, keyID)
	case opGetImported:
		return getKey(w, r, n, core.Imported, keyID)
	case opUpdateIssued:
		return updateKey(w, r, n, core.Issued, keyID)
	case opUpdateImported:
		return updateKey(w, r, n, core.Imported, keyID)
	case opRevokeIssued:
		return revoke(w, r, n, core.Issued, keyID)
	case opRevokeImported:
		return revoke(w, r, n, core.Imported, keyID)
	case opRevokeAny:
		return revoke(w, r, n, core.AnyKind, keyID)
	case opJWKS:
		return h.jwks(w, r, n)
	default:
		return errNoPath()
	}
}

// serve answers a call on the private surface of a node or of a sidecar; what they do not have in common, other does.
func (s *surface) serve(
	w http.ResponseWriter, r *http.Request, op operation, other func(http.ResponseWriter, Network) error,
) error {
	switch op {
	case opAlive:
		return alive(w)
	case opReady:
		return s.ready(w, r, true)
	case opOpenAPI:
		return openAPI(w)
	default:
	}
	n, err := s.network(r)
	if err != nil {
		return err
	}
	if op.changes() && isEdge(r) && s.sidecar == nil {
		w = &placed{ResponseWriter: w, applied: n.Keys.Applied}
	}
	switch op {
	case opVerify:
		return s.verify(w, r, n)
	case opBatchVerify:
		return s.batchVerify(w, r, n)
	case opSelfRevoke:
		return s.selfRevoke(w, r, n)
	default:
		return other(w, n)
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
