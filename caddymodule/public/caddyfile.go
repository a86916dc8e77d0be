package public

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/internal/directive"
)

// ParseCaddyfile reads the directive `talos_public`.
func ParseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	p := new(Public)
	if err := p.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return p, nil
}

// UnmarshalCaddyfile reads the directive:
//
//	talos_public [<matcher>] {
//		health
//	}
func (p *Public) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return directive.Read(d, func(option string) error {
		if option != "health" {
			return directive.Unknown(d)
		}
		p.Health = true
		return directive.NoValue(d)
	})
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Public)(nil)
