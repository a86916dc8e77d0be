package gate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
	"github.com/talos-edge/talos-edge/caddymodule/internal/directive"
)

// ParseCaddyfile reads the directive `talos_gate`.
func ParseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	g := new(Gate)
	if err := g.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return g, nil
}

// UnmarshalCaddyfile reads the gate's options:
//
//	talos_gate [<matcher>] {
//		network         <id>
//		from            <source>
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
// Each `from` adds a [Source]; any other option is given at most once. Values without placeholders are checked here, so
// that an error names its line.
func (g *Gate) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return directive.Read(d, func(option string) error {
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
	case "network":
		return directive.Value(d, &g.Network)
	case "from":
		return g.unmarshalFrom(d)
	case "scopes":
		return directive.Values(d, &g.Scopes)
	case "any_scope":
		return directive.Values(d, &g.AnyScope)
	case "visibility":
		return directive.Value(d, &g.Visibility)
	case "optional":
		g.Optional = true
		return directive.NoValue(d)
	case "keep_credential":
		g.KeepCredential = true
		return directive.NoValue(d)
	case "identity":
		var values []string
		if err := directive.Values(d, &values); err != nil {
			return err
		}
		g.Identity, g.IdentityFields = values[0], values[1:]
		return nil
	case "recheck":
		return directive.Duration(d, &g.Recheck)
	case "realm":
		return directive.Value(d, &g.Realm)
	default:
		return directive.Unknown(d)
	}
}

func (g *Gate) unmarshalFrom(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if slices.Contains(args, "") {
		return d.Err("from: a value is empty")
	}
	s, err := httpcred.ParseSource(args...)
	if err != nil {
		return d.WrapErr(fmt.Errorf("from: %w", err))
	}
	g.From = append(g.From, s)
	return directive.NoBlock(d)
}

// checkLiteral checks what has been read so far, with everything that holds a placeholder left out.
func (g *Gate) checkLiteral() error {
	literal := Gate{
		Network:    directive.Literal(g.Network),
		Scopes:     directive.Literals(g.Scopes),
		AnyScope:   directive.Literals(g.AnyScope),
		Visibility: directive.Literal(g.Visibility),
		Identity:   directive.Literal(g.Identity),

		IdentityFields: directive.Literals(g.IdentityFields),
		Recheck:        g.Recheck,
		Realm:          directive.Literal(g.Realm),
	}
	for _, s := range g.From {
		if !slices.ContainsFunc(s.Texts(), func(text *string) bool { return strings.Contains(*text, "{") }) {
			literal.From = append(literal.From, s)
		}
	}
	if len(g.From) > httpcred.MaxSources {
		return errors.New("from: too many places")
	}
	return literal.resolve()
}

// Interface guards.
var _ caddyfile.Unmarshaler = (*Gate)(nil)
