package gate

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
)

// Source is a place in a request where a credential may be.
type Source = httpcred.Source

// stripCredential removes what was found in a request, so that nothing behind the gate sees it: from the request, and
// from the URL as it came, which Caddy keeps. FastCGI takes it from there, and handle_errors gets it back from there.
func (g *Gate) stripCredential(r *http.Request, where httpcred.Where) {
	g.reader.Strip(r, where)
	where = g.reader.InURL(where)
	if where == 0 {
		return
	}
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL == nil {
		return
	}
	g.reader.Strip(&original, where) // its URL is shared with the server
	*r = *r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original))
}
