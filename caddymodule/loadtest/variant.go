package main

import (
	"embed"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// The Caddyfiles of the variants. They get their ports and files from the environment, so that each can be run by hand.
//
//go:embed caddyfiles
var caddyfiles embed.FS

// Names of the variants that are compared with each other.
const (
	bare        = "bare"
	gateOne     = "gate-1"
	gateMany    = "gate-many"
	forwardAuth = "forward_auth"
	stock       = "stock"
	bareQuiet   = "bare-quiet"
	gateQuiet   = "gate-quiet"
)

// quiet keeps Caddy's proxy from preparing a line for the log for each request, which it then does not write.
var quiet = []string{"TALOS_LOADTEST_LOG=exclude http.handlers.reverse_proxy"}

// A variant is one proxy process under test.
type variant struct {
	name  string
	about string
	file  string // in caddyfiles, or on disk if extra
	keys  int    // distinct credentials that the load uses
	gated bool   // has a talos_gate, and an admin API that issues the credentials
	auth  bool   // asks the auth server
	stock bool   // plain Caddy, its environment as it comes
	extra bool
	env   []string // further settings of the Caddyfile
}

// standardVariants are the five of the goals and two with a quiet log, many being the number of keys where there are
// many. The ungated ones get as many different credentials of the same length, so that the bytes sent are alike.
func standardVariants(many int) []variant {
	return []variant{
		{name: bare, about: "reverse_proxy, our settings, no gate", file: "bare.caddyfile", keys: many},
		{name: gateOne, about: "the same, gated, 1 key", file: "gated.caddyfile", keys: 1, gated: true},
		{
			name: gateMany, about: fmt.Sprintf("the same, gated, %d keys at random", many),
			file: "gated.caddyfile", keys: many, gated: true,
		},
		{
			name: forwardAuth, about: "the same, forward_auth to an auth server",
			file: "forward_auth.caddyfile", keys: many, auth: true,
		},
		{name: stock, about: "plain Caddy, stock settings, no gate", file: "stock.caddyfile", keys: many, stock: true},
		{
			name: bareQuiet, about: "as " + bare + ", the proxy kept out of the log",
			file: "bare.caddyfile", keys: many, env: quiet,
		},
		{
			name: gateQuiet, about: "as " + gateMany + ", the proxy kept out of the log",
			file: "gated.caddyfile", keys: many, gated: true, env: quiet,
		},
	}
}

var variantName = regexp.MustCompile(`^[a-z0-9][a-z0-9_+.-]{0,30}$`)

// extraVariant reads name=file of -extra.
func extraVariant(s string) (variant, error) {
	name, file, ok := strings.Cut(s, "=")
	if !ok || !variantName.MatchString(name) || file == "" {
		return variant{}, fmt.Errorf("%q: must be name=Caddyfile, the name of lower-case letters, digits and +-._", s)
	}
	return variant{name: name, about: "the Caddyfile " + file, file: file, keys: 1, extra: true}, nil
}

// caddyfile is the configuration's text.
func (v variant) caddyfile() ([]byte, error) {
	if v.extra {
		return os.ReadFile(v.file)
	}
	return caddyfiles.ReadFile("caddyfiles/" + v.file)
}
