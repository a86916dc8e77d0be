package admin

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/internal/directive"
)

// ParseCaddyfile reads the directive `talos_admin`.
func ParseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	a := new(Admin)
	if err := a.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return a, nil
}

// UnmarshalCaddyfile reads the directive:
//
//	talos_admin [<matcher>] {
//		allow   <range>|private_ranges...
//		hosts   <name>...
//		origins <origin>...
//	}
//
// Each option is given at most once.
func (a *Admin) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return directive.Read(d, func(option string) error {
		switch option {
		case "allow":
			return literalList(d, &a.Allow, func(s []string) error { _, err := newAccess(s, nil, nil); return err })
		case "hosts":
			return literalList(d, &a.Hosts, func(s []string) error { _, err := newAccess(nil, s, nil); return err })
		case "origins":
			return literalList(d, &a.Origins, func(s []string) error { _, err := newAccess(nil, nil, s); return err })
		default:
			return directive.Unknown(d)
		}
	})
}

// literalList reads an option's values, and checks those that hold no placeholder.
func literalList(d *caddyfile.Dispenser, list *[]string, check func([]string) error) error {
	if *list = d.RemainingArgs(); len(*list) == 0 {
		return d.ArgErr()
	}
	for _, s := range *list {
		if strings.Contains(s, "{") {
			continue
		}
		if err := check([]string{s}); err != nil {
			return d.WrapErr(err)
		}
	}
	return directive.NoBlock(d)
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Admin)(nil)
