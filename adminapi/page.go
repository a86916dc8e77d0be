package adminapi

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
)

// The first page of the private surface.
const (
	pagePath      = "/"
	modulePath    = "github.com/talos-edge/talos-edge"
	documentation = "https://" + modulePath + "#readme"
)

const pageStyle = `body{font:1rem/1.6 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}` +
	`:root{color-scheme:light dark}code{font-family:ui-monospace,monospace}`

// pageText is the page, with VERSION in place of the version.
const pageText = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Talos Edge</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<h1>Talos Edge</h1>
<p>This is the private listener of a gate for API keys, version <code>VERSION</code>. Programs issue, show, change,
revoke and verify keys here.</p>
<nav aria-label="On this server">
<ul>
<li><a href="` + openAPIPath + `">The API as an OpenAPI document</a></li>
<li><a href="` + readyPath + `">Health: whether this server can answer for keys</a></li>
<li><a href="` + alivePath + `">Health: whether this server runs</a></li>
<li><a href="` + documentation + `" rel="noreferrer">Documentation</a></li>
</ul>
</nav>
</main>
</body>
</html>
`

// page is the page, and the policy for it: it loads nothing, runs nothing, and is shown in no other page.
var page = sync.OnceValues(func() (text []byte, policy string) {
	sum := sha256.Sum256([]byte(pageStyle))
	return []byte(strings.Replace(pageText, "VERSION", html.EscapeString(version()), 1)),
		"default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
})

// about is what the page says, for programs.
type about struct {
	Name          string `json:"name"`
	Version       string `json:"version"`
	OpenAPI       string `json:"openapi"`
	Health        string `json:"health"`
	Documentation string `json:"documentation"`
}

// servePage answers a browser, or a program, with what this server is.
func (h *adminHandler) servePage(w http.ResponseWriter, r *http.Request) error {
	header := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return methodError(w, "GET, HEAD")
	}
	header.Add("Vary", "Accept")
	if !acceptsHTML(r.Header.Values("Accept")) {
		writeJSON(w, http.StatusOK, &about{"Talos Edge", version(), openAPIPath, readyPath, documentation})
		return nil
	}
	text, policy := page()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(text)))
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(text) // a caller that went away reads nothing
	return nil
}

// acceptsHTML reports whether a request names HTML among what it accepts, as browsers do and tools do not.
func acceptsHTML(accept []string) bool {
	for _, field := range accept {
		for part := range strings.SplitSeq(field, ",") {
			name, parameters, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(name), "text/html") && !refused(parameters) {
				return true
			}
		}
	}
	return false
}

// refused reports whether a media range has the weight 0 (RFC 9110, section 12.4.2).
func refused(parameters string) bool {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if weight, err := strconv.ParseFloat(value, 64); strings.EqualFold(name, "q") && err == nil && weight == 0 {
			return true
		}
	}
	return false
}

// Version is that of this module in the running program, or what kind of build it is.
func Version() string { return version() }

var version = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path == modulePath && m.Version != "" && m.Version != "(devel)" && m.Replace == nil {
			return m.Version
		}
	}
	return "development build"
})
