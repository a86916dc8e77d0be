package adminapi

import "net/http"

// Admin serves the private surface: every call of the API, and at / a page that says what it is. It asks nobody for a
// credential; whoever reaches it may do everything, so the listener it is on must let only operators in. Whatever is
// not a path of the API is answered with 404, a method that a path does not take with 405.
func Admin(o Options) http.Handler {
	h := &adminHandler{newSurface(o)}
	h.private = true
	return h
}

type adminHandler struct{ surface }

// ServeHTTP answers every request.
func (h *adminHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := PlainPath(r)
	if path == pagePath {
		if err := h.servePage(w, r); err != nil {
			h.fail(w, r, nil, err)
		}
		return
	}
	route, keyID := Find(path)
	op, err := route.find(w, r.Method)
	if err == nil {
		err = h.serve(w, r, op, keyID)
	}
	if err != nil {
		h.fail(w, r, op, err)
	}
}
