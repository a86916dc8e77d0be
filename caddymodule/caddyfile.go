package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func parseAdmin(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	a := new(Admin)
	if err := a.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return a, nil
}

func parsePublic(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	p := new(Public)
	if err := p.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return p, nil
}

// UnmarshalCaddyfile reads the directive:
//
//	talos_admin [<matcher>] {
//		allow   <range>|private_ranges...
//		hosts   <name>...
//		origins <origin>...
//	}
//
// Each option stands at most once.
func (a *Admin) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := once{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if err := seen.add(d, option); err != nil {
			return err
		}
		var err error
		switch option {
		case "allow":
			err = literalList(d, &a.Allow, func(s []string) error { _, err := newAccess(s, nil, nil); return err })
		case "hosts":
			err = literalList(d, &a.Hosts, func(s []string) error { _, err := newAccess(nil, s, nil); return err })
		case "origins":
			err = literalList(d, &a.Origins, func(s []string) error { _, err := newAccess(nil, nil, s); return err })
		default:
			err = unknownOption(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
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
	return noBlock(d)
}

// UnmarshalCaddyfile reads the directive:
//
//	talos_public [<matcher>] {
//		health
//	}
func (p *Public) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := once{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if err := seen.add(d, option); err != nil {
			return err
		}
		if option != "health" {
			return unknownOption(d)
		}
		if d.NextArg() {
			return d.ArgErr()
		}
		if err := noBlock(d); err != nil {
			return err
		}
		p.Health = true
	}
	return nil
}

// Interface guards.
var (
	_ caddyfile.Unmarshaler = (*Admin)(nil)
	_ caddyfile.Unmarshaler = (*Public)(nil)
)
