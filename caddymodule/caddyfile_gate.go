package caddymodule

import (
	"errors"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// parseGate reads the directive `talos_gate`.
func parseGate(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	g := new(Gate)
	if err := g.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return g, nil
}

// UnmarshalCaddyfile reads the gate's options:
//
//	talos_gate [<matcher>] {
//		from            header <name> [<scheme>]
//		from            query <name>
//		from            cookie <name>
//		scopes          <scope...>
//		any_scope       <scope...>
//		visibility      secret | public | any
//		optional
//		keep_credential
//		identity        <prefix> [<field...>] | off
//		recheck         <duration>
//		realm           <text>
//	}
//
// Each `from` adds a place; any other option stands at most once. Values without placeholders are checked here, so that
// an error names its line.
func (g *Gate) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return directive(d, func(option string) error {
		if err := g.unmarshalOption(d, option); err != nil {
			return err
		}
		if err := g.checkLiteral(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}, "from")
}

func (g *Gate) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "from":
		return g.unmarshalFrom(d)
	case "scopes":
		return oneOrMore(d, &g.Scopes)
	case "any_scope":
		return oneOrMore(d, &g.AnyScope)
	case "visibility":
		return oneValue(d, &g.Visibility)
	case "optional":
		g.Optional = true
		return noValue(d)
	case "keep_credential":
		g.KeepCredential = true
		return noValue(d)
	case "identity":
		var values []string
		if err := oneOrMore(d, &values); err != nil {
			return err
		}
		g.Identity, g.IdentityFields = values[0], values[1:]
		return nil
	case "recheck":
		return durationValue(d, &g.Recheck)
	case "realm":
		return oneValue(d, &g.Realm)
	default:
		return unknownOption(d)
	}
}

func (g *Gate) unmarshalFrom(d *caddyfile.Dispenser) error {
	var s Source
	args := d.RemainingArgs()
	switch {
	case slices.Contains(args, ""):
		return d.Err("from: a value is empty")
	case len(args) == 2 && args[0] == "header":
		s.Header = args[1]
	case len(args) == 3 && args[0] == "header":
		s.Header, s.Scheme = args[1], args[2]
	case len(args) == 2 && args[0] == "query":
		s.Query = args[1]
	case len(args) == 2 && args[0] == "cookie":
		s.Cookie = args[1]
	default:
		return d.Err("from: want `header <name> [<scheme>]`, `query <name>` or `cookie <name>`")
	}
	g.From = append(g.From, s)
	return noBlock(d)
}

// checkLiteral checks what has been read so far, with everything that holds a placeholder left out.
func (g *Gate) checkLiteral() error {
	literal := Gate{
		Scopes:     literals(g.Scopes),
		AnyScope:   literals(g.AnyScope),
		Visibility: withoutPlaceholder(g.Visibility),
		Identity:   withoutPlaceholder(g.Identity),

		IdentityFields: literals(g.IdentityFields),
		Recheck:        g.Recheck,
		Realm:          withoutPlaceholder(g.Realm),
	}
	for _, s := range g.From {
		if !strings.Contains(s.Header+s.Scheme+s.Query+s.Cookie, "{") {
			literal.From = append(literal.From, s)
		}
	}
	if len(g.From) > maxSources {
		return errors.New("from: too many places")
	}
	return literal.resolve()
}

// oneOrMore reads the values of an option.
func oneOrMore(d *caddyfile.Dispenser, values *[]string) error {
	option := d.Val()
	*values = d.RemainingArgs()
	if len(*values) == 0 {
		return d.ArgErr()
	}
	if slices.Contains(*values, "") {
		return d.Errf("%s: a value is empty", option)
	}
	return noBlock(d)
}

// noValue ends an option that is only its name.
func noValue(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return noBlock(d)
}

// Interface guards.
var _ caddyfile.Unmarshaler = (*Gate)(nil)
