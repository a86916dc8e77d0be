package gate

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/internal/directive"
)

// PlainPath matches a request whose path has one reading: it begins with a slash and has no `%`, `\`, `;` or `//`, no
// character that a URL has to encode, and no segment of dots only. What is exempt from a gate by its path must match it
// too: an app behind the gate may read `/public/..;/orders` or `/public/%252e%252e/orders` as `/orders`.
//
// Both paths are judged, the one that the client sent and the one that the app is sent, which differ behind a rewrite:
// an app may see either.
type PlainPath struct{}

// CaddyModule returns the Caddy module information.
func (PlainPath) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.talos_plain_path", New: func() caddy.Module { return new(PlainPath) }}
}

// UnmarshalCaddyfile reads the matcher, which takes no arguments and no block:
//
//	talos_plain_path
func (PlainPath) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		if err := directive.NoValue(d); err != nil {
			return err
		}
	}
	return nil
}

// MatchWithError says whether the path of a request has one reading. It never fails.
func (PlainPath) MatchWithError(r *http.Request) (bool, error) {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	return ok && isPlainPath(r.URL) && isPlainPath(original.URL), nil
}

// isPlainPath says whether the path of a URL has one reading.
func isPlainPath(u *url.URL) bool {
	if u == nil || u.Opaque != "" {
		return false
	}
	// What the escaped form leaves as it is has the same decoded form.
	path := u.EscapedPath()
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, `%\;`) || strings.Contains(path, "//") {
		return false
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment != "" && strings.Trim(segment, ".") == "" {
			return false
		}
	}
	return true
}

// Interface guards.
var (
	_ caddyhttp.RequestMatcherWithError = PlainPath{}
	_ caddyfile.Unmarshaler             = PlainPath{}
)
