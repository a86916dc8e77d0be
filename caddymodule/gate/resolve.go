package gate

import (
	"errors"
	"fmt"
	"net/textproto"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
	"github.com/talos-edge/talos-edge/caddymodule/node/networks"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/policy"
)

// resolve checks the options, whose placeholders are expanded, and prepares for requests.
func (g *Gate) resolve() error {
	var err error
	if g.reader, err = httpcred.NewReader(g.From...); err != nil {
		return fmt.Errorf("from: %w", err)
	}
	if err := g.resolveNetwork(); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	if err := g.resolveRules(); err != nil {
		return err
	}
	if err := g.resolveIdentity(); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if g.Recheck != 0 && time.Duration(g.Recheck) < minRecheck {
		return fmt.Errorf("recheck: must be at least %s, or 0 for never", core.FormatSeconds(minRecheck))
	}
	if g.Realm == "" {
		g.Realm = "api"
	}
	if err := checkRealm(g.Realm); err != nil {
		return fmt.Errorf("realm: %w", err)
	}
	g.denials = g.makeDenials()
	return nil
}

// expand replaces the placeholders of the options. One that is unknown or empty is an error: a rule that vanished
// would open the gate.
func (g *Gate) expand() error {
	repl := caddy.NewReplacer()
	fields := []*string{&g.Network, &g.Visibility, &g.Identity, &g.Realm}
	for i := range g.From {
		fields = append(fields, g.From[i].Texts()...)
	}
	for _, list := range [][]string{g.Scopes, g.AnyScope, g.IdentityFields} {
		for i := range list {
			fields = append(fields, &list[i])
		}
	}
	for _, field := range fields {
		expanded, err := repl.ReplaceOrErr(*field, true, true)
		if err != nil {
			return fmt.Errorf("expanding %q: %w", *field, err)
		}
		*field = expanded
	}
	return nil
}

// resolveNetwork finds the network that the gate is pinned to. The literal check of a Caddyfile has no app.
func (g *Gate) resolveNetwork() error {
	if g.Network == "" {
		return nil
	}
	id, err := networks.ParseID(g.Network)
	if err != nil {
		return err
	}
	if g.app != nil && !g.app.MayServe(id) {
		return fmt.Errorf("%s is not the id of a network in the option talos", id)
	}
	g.pinned = &id
	return nil
}

func (g *Gate) resolveRules() error {
	g.rules = policy.Rules{Scopes: g.Scopes, AnyScope: g.AnyScope}
	if err := checkScopes("scopes", g.Scopes); err != nil {
		return err
	}
	if err := checkScopes("any_scope", g.AnyScope); err != nil {
		return err
	}
	switch g.Visibility {
	case "", "secret":
		g.rules.Visibility = policy.Secret
	case "public":
		g.rules.Visibility = policy.Public
	case "any":
		g.rules.Visibility = policy.Any
	default:
		return fmt.Errorf("visibility: %q is none of secret, public and any", g.Visibility)
	}
	return nil
}

// checkScopes refuses what is not a scope, and two spellings that are one and not what was meant: a list with commas,
// and a wildcard, which covers other scopes only where a key holds it.
func checkScopes(option string, scopes []string) error {
	for _, scope := range scopes {
		switch {
		case !core.ValidScope(scope):
			return fmt.Errorf("%s: %q is not a scope (RFC 6749, section 3.3)", option, scope)
		case strings.Contains(scope, ","):
			list := strings.FieldsFunc(strings.Join(scopes, ","), func(c rune) bool { return c == ',' })
			return fmt.Errorf("%s: %q would be one scope: separate scopes by spaces, as in `%[1]s %[3]s`",
				option, scope, strings.Join(list, " "))
		case strings.HasSuffix(scope, "*"):
			return fmt.Errorf("%s: %q is a wildcard, which only a key may hold: name the scope that the route needs, "+
				"such as orders:read", option, scope)
		}
	}
	return nil
}

// identityOff is the value of the option `identity` that sets no headers.
const identityOff = "off"

func (g *Gate) resolveIdentity() error {
	prefix := httpcred.DefaultPrefix
	if g.Identity != "" && g.Identity != identityOff {
		prefix = textproto.CanonicalMIMEHeaderKey(g.Identity)
	}
	var err error
	if g.again, err = httpcred.NewFilter(g.reader.Headers(), prefix); err != nil {
		return err
	}
	g.filter = g.again
	if prefix != httpcred.DefaultPrefix {
		if g.filter, err = httpcred.NewFilter(g.reader.Headers(), prefix, httpcred.DefaultPrefix); err != nil {
			return err
		}
	}
	if g.Identity == identityOff {
		if len(g.IdentityFields) > 0 {
			return errors.New("`off` takes no fields")
		}
		return nil
	}
	fields := g.IdentityFields
	if len(fields) == 0 && g.app != nil && g.app.Several() {
		fields = httpcred.AllFields()
	}
	g.headers, err = httpcred.NewIdentity(prefix, fields...)
	return err
}
